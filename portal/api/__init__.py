"""The REST API, one file per noun. It reads requests, calls the services, and writes answers; it decides nothing."""
