"""Database connections of processes whose threads stay: kept, as long as they are young and answer."""

from __future__ import annotations

from django.db import connections

#: How long a thread keeps its connection, in seconds.
KEPT_SECONDS = 300


def keep_connections() -> None:
    """Let this process's threads keep their connections. Whoever runs work in them calls `close_old_connections` around
    it, which closes those that are old or broken.
    """
    for name in connections:
        connections.settings[name]["CONN_MAX_AGE"] = KEPT_SECONDS
        connections.settings[name]["CONN_HEALTH_CHECKS"] = True
