"""Writing, sealing and spoiling a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.anchors import AnchorFile
from audit.context import acting
from audit.events import EventAction, Outcome
from audit.keys import KeyRing, SealKey, key_ring, seal_key
from audit.models import AuditEvent
from audit.record import Target, record
from audit.sealer import configured
from audit.verify import Report, verify


def write(count: int, *, name: str = "web-1") -> list[AuditEvent]:
    """Events with something in every column."""
    circumstances = {
        "actor_id": "7",
        "actor_name": "ines",
        "actor_kind": "user",
        "via": "job",
        "request_id": "req-1",
        "job_id": "41",
        "source_address": "192.0.2.7",
        "token_id": "3",
        "on_behalf_of_id": "8",
        "on_behalf_of_name": "omar",
    }
    target = Target("vm", "5", "6f0e5f0e-0000-4000-8000-000000000005", name, "2", "accounting")
    events = []
    with transaction.atomic(), acting(**circumstances):
        for number in range(count):
            events.append(
                record(
                    EventAction.VM_CHANGED,
                    target=target,
                    outcome=Outcome.OK,
                    reason=f"reason {number}",
                    before={"memory_mib": number},
                    after={"memory_mib": number + 1},
                    detail={"step": number},
                )
            )
    return events


def seal() -> int:
    """What one run of the sealer does from start to stop."""
    sealer = configured()
    return sealer.start() + sealer.stop()


def key() -> SealKey:
    """The key of the test's installation."""
    found = seal_key(Path(settings.SLIPWAY_SEAL_KEY_FILE), create=False)
    assert found is not None
    return found


def ring() -> KeyRing:
    """All keys of the test's installation."""
    found = key_ring(Path(settings.SLIPWAY_SEAL_KEY_FILE), create=False)
    assert found is not None
    return found


def anchors() -> AnchorFile:
    """The anchor file of the test's installation."""
    return AnchorFile(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE), ring())


def whole() -> Report:
    """The verification's report, which must be good."""
    report = verify()
    assert report.ok, report.first_break
    assert report.anchor_ok
    assert report.first_break is None
    return report


def execute(statement: str, *parameters: Any) -> None:
    """Any SQL."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
