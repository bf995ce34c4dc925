"""The settings in force, as the record may hold them: what differs from the last start gives one event.

The record itself keeps the last ones, in `detail` of the newest event that states them, so that several servers share
them and nobody can quietly put others in their place. A secret is known by a keyed fingerprint alone.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

from audit.events import EventAction
from audit.models import AuditEvent
from audit.record import Target, record
from portal import environment

_STATING = (EventAction.SETTINGS_CHANGED, EventAction.INSTALLATION_FIRST_START)


def settings_facts() -> dict[str, Any]:
    """`server`, `in_force` (what may be shown, by name) and `marks` (fingerprints of what may hold a secret)."""
    urls = {"SLIPWAY_DATABASE_URL": environment.database_url(), "SLIPWAY_BROKER_URL": environment.broker_url()}
    keep, syslog = settings.SLIPWAY_AUDIT_KEEP_MONTHS, settings.SLIPWAY_AUDIT_SYSLOG
    shown = {
        "SLIPWAY_BASE_URL": _without_secret(settings.BASE_URL),
        "SLIPWAY_CONSOLE_URL": _without_secret(settings.CONSOLE_URL),
        "SLIPWAY_HOST_SCHEMES": ", ".join(sorted(settings.SLIPWAY_HOST_SCHEMES)),
        "SLIPWAY_AUDIT_KEEP_MONTHS": "" if keep is None else str(keep),
        "SLIPWAY_AUDIT_SYSLOG": "" if syslog is None else str(syslog),
        **{name: _without_secret(url) for name, url in urls.items()},
    }
    marks = {name: salted_hmac("slipway settings", url, algorithm="sha256").hexdigest() for name, url in urls.items()}
    return {"server": socket.gethostname(), "in_force": shown, "marks": marks}


def settings_compare() -> None:
    """Record what differs from what the record last said of this server, or else of any; nothing where nothing does.

    To be called in a transaction.
    """
    now = settings_facts()
    last = _last(now["server"])
    was, marks = last.get("in_force", {}), last.get("marks", {})
    before, after = {}, {}
    for name, value in now["in_force"].items():
        mark = now["marks"].get(name)
        if was.get(name) != value:
            before[name], after[name] = was.get(name), value
        elif mark is not None and marks.get(name) != mark and last.get("server") == now["server"]:
            before[name], after[name] = value, f"{value} (a secret part changed)"
    if after:
        target = Target(type="server", id=now["server"], name=now["server"])
        record(EventAction.SETTINGS_CHANGED, target=target, before=before, after=after, detail=now)


def _last(server: str) -> dict[str, Any]:
    """The newest facts about this server, else about any; empty where the record holds none (any more)."""
    stating = AuditEvent.objects.filter(action__in=_STATING, detail__isnull=False).order_by("-id")
    event = stating.filter(action=EventAction.SETTINGS_CHANGED, object_id=server).first() or stating.first()
    return dict(event.detail or {}) if event is not None else {}


def _without_secret(url: str) -> str:
    """The address without password and query."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username or ''}{at}{host}", query="", fragment="").geturl()
