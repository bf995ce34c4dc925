"""Whether the record can be trusted to go on."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from audit import health
from audit.events import EventAction
from audit.record import record_alone

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_events_nothing_waits():
    assert health.sealing_lag() == 0


def test_an_event_without_its_seal_waits(monkeypatch):
    record_alone(EventAction.INSTALLATION_FIRST_START)
    later = timezone.now() + timedelta(minutes=5)
    monkeypatch.setattr(health.timezone, "now", lambda: later)
    assert 299 < health.sealing_lag() < 310


@pytest.mark.parametrize(
    ("free", "total", "short"),
    [
        (400 * 1024**2, 1024**3, True),
        (600 * 1024**2, 10 * 1024**3, False),
        (5 * 1024**3, 1000 * 1024**3, True),
    ],
)
def test_room_is_short_by_size_or_by_share(monkeypatch, tmp_path, free, total, short):
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: SimpleNamespace(free=free, total=total))
    assert health.room_is_short(tmp_path) is short
