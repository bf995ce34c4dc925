"""Changes to the inventory that people make. Each authorises, validates, saves and records, in one transaction."""
