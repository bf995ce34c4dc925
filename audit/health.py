"""Whether the record can be trusted to go on: is it sealed as it grows, and is there room for it?"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from audit import syslog
from audit.models import AuditEvent, AuditSeal

#: A seal comes within a second; an event that has waited this long says that the sealer is gone or stuck.
LATE_SECONDS = 30.0
#: Free space below which somebody has to act, in bytes and as a share: without room for its event nothing is done.
LEAST_FREE_BYTES, LEAST_FREE_SHARE = 500 * 1024**2, 0.02


def sealing_lag() -> float:
    """How long the oldest event behind the newest seal has waited for its own, in seconds; 0 when none waits."""
    newest = AuditSeal.objects.order_by("-sequence").values_list("event_id", flat=True).first()
    waiting = AuditEvent.objects.filter(pk__gt=newest or 0).order_by("pk").values_list("at", flat=True).first()
    return max(0.0, (timezone.now() - waiting).total_seconds()) if waiting is not None else 0.0


def anchors_unsent_since() -> datetime | None:
    """Since when anchors have not reached the syslog of the settings; None while they do, and where there is none.

    Looks at the anchor file, so that it can tell only where the sealer's data directory is at hand.
    """
    if settings.SLIPWAY_AUDIT_SYSLOG is None:
        return None
    oldest = next(syslog.waiting(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE), settings.SLIPWAY_AUDIT_SYSLOG), None)
    late = oldest is not None and (timezone.now() - oldest.at).total_seconds() > LATE_SECONDS
    return oldest.at if oldest is not None and late else None


def room_is_short(directory: Path) -> bool:
    """Whether the file system that holds the data is nearly full."""
    usage = shutil.disk_usage(directory)
    return usage.free < LEAST_FREE_BYTES or usage.free < LEAST_FREE_SHARE * usage.total
