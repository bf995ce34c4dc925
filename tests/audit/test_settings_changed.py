"""What is in force at a start is held against the last start, and a difference is recorded; no secret ever is."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from audit.models import AuditEvent
from audit.syslog import destination
from portal import in_force

pytestmark = pytest.mark.django_db

URL = "postgres://slipway:{}@db.example:5432/slipway?passfile=/etc/{}"


@pytest.fixture(autouse=True)
def first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    _database(monkeypatch, "old-secret")
    _start()


def _database(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setattr(in_force.environment, "database_url", lambda: URL.format(secret, secret))


def _start() -> None:
    call_command("install", stdout=StringIO())


def _events() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="settings.changed").order_by("id"))


def test_the_first_start_and_one_with_the_same_settings_record_none() -> None:
    _start()
    assert _events() == []
    first = AuditEvent.objects.get(action="installation.first_start")
    assert first.detail is not None
    assert first.detail["in_force"]["SLIPWAY_DATABASE_URL"] == "postgres://slipway@db.example:5432/slipway"


def test_a_change_is_recorded_once_with_before_and_after(settings: Any) -> None:
    settings.SLIPWAY_AUDIT_SYSLOG = destination("udp://logs.example:514")
    settings.SLIPWAY_AUDIT_KEEP_MONTHS = 24
    _start()
    _start()
    (event,) = _events()
    assert event.before == {"SLIPWAY_AUDIT_KEEP_MONTHS": "", "SLIPWAY_AUDIT_SYSLOG": ""}
    assert event.after == {"SLIPWAY_AUDIT_KEEP_MONTHS": "24", "SLIPWAY_AUDIT_SYSLOG": "udp://logs.example:514"}
    assert (event.via, event.actor_name.endswith("(command line)")) == ("cli", True)


def test_a_secret_is_said_to_have_changed_and_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    _database(monkeypatch, "new-secret")
    monkeypatch.setattr(in_force.socket, "gethostname", lambda: "this-server")
    _start()  # of another server no fingerprint is known
    assert _events() == []
    monkeypatch.undo()
    _database(monkeypatch, "new-secret")
    _start()
    (event,) = _events()
    shown = "postgres://slipway@db.example:5432/slipway"
    assert event.before == {"SLIPWAY_DATABASE_URL": shown}
    assert event.after == {"SLIPWAY_DATABASE_URL": f"{shown} (a secret part changed)"}
    for row in AuditEvent.objects.values():
        assert "old-secret" not in str(row)
        assert "new-secret" not in str(row)


def test_two_servers_that_differ_do_not_take_turns(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        for name, months in (("one", 12), ("two", 24)):
            monkeypatch.setattr(in_force.socket, "gethostname", lambda name=name: name)
            settings.SLIPWAY_AUDIT_KEEP_MONTHS = months
            _start()
    assert [event.object_name for event in _events()] == ["one", "two"]


def test_where_the_record_says_nothing_any_more_it_is_stated_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "_STATING", ())
    _start()
    (event,) = _events()
    assert event.before is not None
    assert set(event.before.values()) == {None}
    monkeypatch.undo()
