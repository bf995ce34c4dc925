"""Each change leaves one event that says who, whence, what and why; none is made without; reading changes nothing.

The table of changes is written by hand (`changes.table`). An address of the URL resolver that can change something and
is not in it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection

from audit.events import EventAction
from jobs.operations.registry import OPERATIONS
from tests.access.matrix.notation import table
from tests.access.matrix.walk import stage
from tests.audit.changes import CHANGING, Change, Made, Maker, changes, possible, reading

pytestmark = pytest.mark.django_db

#: What reading the record leaves in it.
READS = {
    "holds": ["audit.read"],
    "api:hold-list": ["audit.read"],
    "api:hold-detail": ["audit.read"],
    "api:audit-event-list": ["audit.read"],
    "api:audit-event-detail": ["audit.read"],
    "auditors:audit_auditevent_changelist": ["audit.read"],
    "auditors:audit_auditevent_change": ["audit.read"],
    "auditors:access_matrix": ["audit.read"],
    "auditors:access_export": ["audit.exported", "audit.exported"],
    "auditors:audit_auditevent_export": ["audit.exported", "audit.exported"],
}


@dataclass
class Found:
    """What is wrong, each a sentence that names its change."""

    made: int = 0
    events: list[str] = field(default_factory=list)
    circumstances: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def found(django_db_setup: None, django_db_blocker: Any) -> Found:
    """Every change made, every address read; in a thread of its own, as the access matrix is asked."""

    def walk() -> Found:
        try:
            with stage() as (world, people, door):
                return _walked(Maker(world, people, door))
        finally:
            connection.close()

    with django_db_blocker.unblock(), ThreadPoolExecutor(1) as pool:
        return pool.submit(walk).result()


def _walked(maker: Maker) -> Found:
    found = Found()
    for change in changes():
        made = maker.make(change)
        found.made += 1
        said = [event.action for event in made.events]
        if made.answer.outcome not in "VR" or said != list(change.events):
            found.events.append(f"{change.name}: {said} [{made.answer.status}] {made.answer.error}")
        found.circumstances += [f"{change.name}: {wrong}" for wrong in _circumstances(maker, change, made)]
        if change.events:
            without = maker.make(change, is_full=True)
            if without.answer.status < 500 or without.changed:
                found.unrecorded.append(f"{change.name}: [{without.answer.status}] {sorted(without.changed)}")
        found.refused += _refused(maker, change)
        found.invalid += _invalid(maker, change)
    in_table = {change.endpoint for change in changes()}
    for row in table("admin"):  # read-only but for what is in the table, by whatever method
        if row.verb in CHANGING and row.endpoint not in in_table and dict(row.asked).get("u") in ("V", "R"):
            made = maker.make(Change(row.endpoint, row.method, row.kind, "u", "-", ()))
            said = {event.action for event in made.events} - {"audit.exported", "audit.read"}
            if made.changed or said:
                found.reads.append(f"{row.name} u: {sorted(made.changed)} {said}")
    for endpoint, kind in reading():
        for person in "wu":
            made = maker.read(endpoint, kind, person, {})
            said = [event.action for event in made.events if event.action != "access.refused"]
            expected = READS.get(endpoint, []) if person == "u" else []
            if made.changed or said != expected:
                found.reads.append(f"{endpoint} {kind} {person}: {sorted(made.changed)} {said} {made.answer.error}")
    return found


def _circumstances(maker: Maker, change: Change, made: Made) -> Iterator[str]:
    """What the events do not say, or say wrongly: who, by which door, whence, in which request, on what, why."""
    is_api = change.endpoint.startswith("api:")
    why = made.body.get("reason") or made.body.get("note") or made.body.get("break_glass") or ""
    for event in made.events:
        said = {
            "actor": (event.actor_kind, event.actor_name),
            "via": event.via,
            "token": bool(event.token_id),
            "address": event.source_address,
            "request": event.request_id,
        }
        expected = {
            "actor": ("user", maker.names[change.person]),
            "via": "api" if is_api else "web",
            "token": is_api,
            "address": "127.0.0.1",
            "request": made.answer.headers["X-Request-ID"],
        }
        yield from (
            f"{event.action}: {name} {said[name]}, not {value}"
            for name, value in expected.items()
            if said[name] != value
        )
        own = event.action == EventAction.HOLD_PLACED  # a hold is its event: its number is that event's
        if not ((event.object_id or own) and event.object_name):
            yield f"{event.action}: on nothing"
    if made.events and made.events[-1].object_type != change.noun:
        yield f"on a {made.events[-1].object_type}, not a {change.noun}"
    if why and made.events and made.events[-1].reason != why:
        yield f"why: {made.events[-1].reason!r}, not {why!r}"


def _refused(maker: Maker, change: Change) -> Iterator[str]:
    """Somebody who holds nothing tries the same: nothing changes, and one event says so."""
    if change.endpoint in ("sign-in", "sign-out"):
        return
    made = maker.make(change, person="s")
    said = [(event.action, event.outcome, event.actor_name) for event in made.events]
    if made.changed or said != [("access.refused", "refused", maker.names["s"])]:
        yield f"{change.name}: {sorted(made.changed)} {said} [{made.answer.status}]"


def _invalid(maker: Maker, change: Change) -> Iterator[str]:
    """The same with a body that makes no sense: nothing changes, and nothing is recorded."""
    if not change.endpoint.startswith("api:") or change.verb == "DELETE" or not made_of_members(change):
        return
    made = maker.make(change, body={"no such member": 1})
    if made.answer.status != 400 or made.changed or made.events:
        said = [event.action for event in made.events]
        yield f"{change.name}: {sorted(made.changed)} {said} [{made.answer.status}]"


def made_of_members(change: Change) -> bool:
    """Whether it takes a body at all."""
    return change.endpoint not in ("api:host-sync", "api:access-request-withdraw", "api:host-leftover-keep")


def test_every_address_that_can_change_something_stands_in_the_table():
    known = {(change.endpoint, change.verb) for change in changes()}
    # A form that is sent by PUT is an empty one: to these, not valid.
    invalid = {(name, verb) for name, verb in possible() - known if verb == "PUT" and not name.startswith("api:")}
    assert sorted(possible() - known - invalid) == []
    assert sorted(known - possible()) == []
    letters = {(row.endpoint, row.verb): row.letters for row in table("pages") if row.kind == "ours" or row.kind == "-"}
    assert [pair for pair in sorted(invalid) if letters[pair] & set("VR")] == []


def test_every_operation_is_among_the_changes():
    submitted = {change.method.partition(":")[2] for change in changes() if change.endpoint == "api:job-list"}
    assert set(OPERATIONS) == submitted - {"glass"}


def test_each_change_leaves_just_the_events_that_it_should(found: Found):
    assert found.made > 70
    assert found.events == []


def test_each_event_says_who_by_which_door_in_which_request_on_what_and_why(found: Found):
    assert found.circumstances == []


def test_no_change_is_made_when_its_event_cannot_be_written(found: Found):
    assert found.unrecorded == []


def test_each_refusal_leaves_one_event_and_no_change(found: Found):
    assert found.refused == []


def test_what_makes_no_sense_leaves_no_event_and_no_change(found: Found):
    assert found.invalid == []


def test_reading_changes_nothing_and_only_the_record_notes_its_readers(found: Found):
    assert found.reads == []
