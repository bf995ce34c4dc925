"""Changes to people, teams, roles and grants. Each authorises, validates, saves and records, in one transaction."""
