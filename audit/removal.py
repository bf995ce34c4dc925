"""The rows of an archived range go: from the oldest on, in small transactions, never past a hold."""

# ruff: noqa: S608 (the statements are made of the tables' names)

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import Min

from audit.archive import Archived
from audit.events import EventAction
from audit.holds import Hold, first_held
from audit.locks import lock_holds
from audit.models import AuditSeal
from audit.record import Target, record
from audit.triggers import EVENTS, SEALS

#: Seals in one transaction: some tens of milliseconds in which SQLite lets nobody else write.
BATCH = 1000


def remove(archived: Archived, *, reason: str) -> tuple[int, Hold | None]:
    """Remove what is left of a range; returns how many seals went, and the hold that stopped it, if one did.

    The database lets only rows go that a sealed `audit.archived` event covers. Whoever calls has made sure that this
    one's file is there. The last transaction records it. Raises database errors; what went until then is in the file.
    """
    removed = 0
    while True:
        with transaction.atomic():
            lock_holds()
            first = AuditSeal.objects.aggregate(first=Min("sequence"))["first"]
            last = min(first + BATCH - 1, archived.last)
            held = first_held(first, last) if first <= last else None
            if held is not None:
                last = held[0] - 1
            removed += _remove(first, last) if first <= last else 0
            if held is not None or last == archived.last:
                hold = held[1] if held else None
                _record(archived, removed, hold, reason)
                return removed, hold


def _remove(first: int, last: int) -> int:
    with connection.cursor() as cursor:
        seals = f"SELECT event_id FROM {SEALS} WHERE sequence BETWEEN %s AND %s"
        cursor.execute(f"DELETE FROM {EVENTS} WHERE id IN ({seals})", [first, last])
        cursor.execute(f"DELETE FROM {SEALS} WHERE sequence BETWEEN %s AND %s", [first, last])
        return int(cursor.rowcount)


def _record(archived: Archived, removed: int, hold: Hold | None, reason: str) -> None:
    record(
        EventAction.AUDIT_TRIMMED,
        target=Target(type="audit_archive", id=str(archived.last)),
        reason=reason,
        detail={"seals": removed, "archived_to": archived.last, "stopped_by_hold": hold.id if hold else None},
    )
