"""Legal holds by the API, with the rights, the events and the refusals of their page."""

from __future__ import annotations

from typing import Any

import pytest

from access.gate import SYSTEM
from audit.events import EventAction
from audit.holds import Cover, hold_lift, hold_place, standing_holds
from audit.models import AuditEvent
from tests import factories as make
from tests.api.conftest import Caller, problem

CASE = {"name": "Case 7", "reason": "a court asks"}


@pytest.fixture
def auditor(estate: Any) -> Caller:
    return Caller(make.user_with("auditor", username="aud"))


@pytest.fixture
def hold(estate: Any) -> Any:
    return hold_place(name="An older case", reason="a court", cover=Cover(person="mara"), actor=SYSTEM)


def test_a_hold_is_placed_read_and_lifted(auditor: Caller) -> None:
    placed = auditor.post("holds/", CASE | {"segment": "web", "since": "2026-01-01T00:00:00Z"})
    assert placed.status_code == 201
    shown = placed.json()
    assert (shown["name"], shown["segment"], shown["person"]) == ("Case 7", "web", "")
    assert (shown["since"], shown["until"], shown["everything"]) == ("2026-01-01T00:00:00Z", None, False)
    assert shown["placed_by"] == "aud"
    [standing] = standing_holds()
    assert standing.id == shown["id"]
    assert auditor.client.get(placed["Location"]).json() == shown
    assert auditor.get("holds/").json()["results"] == [shown]

    lifted = auditor.post(f"holds/{standing.id}/lift/", {"reason": "settled"})
    assert (lifted.status_code, lifted.json()) == (200, shown)
    assert standing_holds() == []
    assert auditor.get("holds/").json() == {"count": 0, "next": None, "previous": None, "results": []}
    problem(auditor.get(f"holds/{standing.id}/"), 404, "not_found")
    problem(auditor.post(f"holds/{standing.id}/lift/", {"reason": "again"}), 404, "not_found")
    events = AuditEvent.objects.filter(object_type="hold").order_by("pk").values_list("action", "actor_name", "reason")
    assert list(events) == [("hold.placed", "aud", "a court asks"), ("hold.lifted", "aud", "settled")]


def test_the_whole_record_is_held_only_where_that_is_said(auditor: Caller) -> None:
    assert auditor.post("holds/", CASE | {"everything": True}).json()["everything"] is True
    problem(auditor.post("holds/", CASE), 400, "invalid")
    problem(auditor.post("holds/", CASE | {"everything": True, "person": "mara"}), 400, "invalid")
    assert len(standing_holds()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"person": "mara"},
        CASE | {"person": "mara", "name": "  "},
        CASE | {"person": "mara", "reason": ""},
        CASE | {"person": "mara", "name": "n" * 256},
        CASE | {"person": "p" * 256},
        CASE | {"person": "mara", "reason": "r" * 501},
        CASE | {"since": "yesterday"},
        CASE | {"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        CASE | {"person": ["mara"]},
        CASE | {"person": "mara", "cover": "everything"},
        CASE | {"person": "mara", "everything": "perhaps"},
    ],
)
def test_what_makes_no_sense_holds_nothing(auditor: Caller, body: dict[str, Any]) -> None:
    problem(auditor.post("holds/", body), 400, "invalid")
    assert standing_holds() == []


@pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "r" * 501}, {"why": "settled"}])
def test_a_hold_is_lifted_with_a_reason_alone(auditor: Caller, hold: Any, body: dict[str, Any]) -> None:
    problem(auditor.post(f"holds/{hold.id}/lift/", body), 400, "invalid")
    assert standing_holds() == [hold]


def test_an_event_that_is_no_hold_is_none(auditor: Caller, hold: Any) -> None:
    hold_lift(hold.id, reason="settled", actor=SYSTEM)
    for number in (hold.id, hold.id + 1, 0, 10**30):
        problem(auditor.get(f"holds/{number}/"), 404, "not_found")
        problem(auditor.post(f"holds/{number}/lift/", {"reason": "settled"}), 404, "not_found")


def test_who_reads_but_may_not_export_places_and_lifts_nothing(estate: Any, hold: Any) -> None:
    reader = make.user()
    make.grant(reader, make.role_of("view", "read_audit"))
    caller = Caller(reader)
    assert caller.get("holds/").json()["count"] == 1
    problem(caller.post("holds/", CASE | {"person": "mara"}), 403, "not_allowed")
    problem(caller.post(f"holds/{hold.id}/lift/", {"reason": "settled"}), 403, "not_allowed")
    assert standing_holds() == [hold]


def test_nobody_else_learns_that_there_are_any(estate: Any, hold: Any, maintainer: Caller) -> None:
    for answer in (maintainer.get("holds/"), maintainer.get(f"holds/{hold.id}/"), maintainer.get("holds/999999/")):
        problem(answer, 403, "not_allowed")
    refused = AuditEvent.objects.filter(action=EventAction.ACCESS_REFUSED, actor_name="mara")
    assert refused.count() == 3


def test_reading_them_is_recorded_first(auditor: Caller, hold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    auditor.get("holds/")
    auditor.get(f"holds/{hold.id}/")
    read = AuditEvent.objects.filter(action=EventAction.AUDIT_READ)
    assert [event.detail for event in read] == [{"page": "holds"}] * 2

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("portal.api.holds.record_alone", refuse)
    auditor.client.raise_request_exception = False
    assert auditor.get("holds/").status_code == 500
