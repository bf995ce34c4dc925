"""The auditors' site: Django's admin, read-only by construction, one file per field of the estate's life."""
