"""Writing: with its change or alone, complete, and refused where it could part from what it tells of."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from access.gate import SYSTEM
from access.models import Team, User
from audit.context import acting, acting_as
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from audit.record import NotInTransaction, Target, record, record_alone
from audit.selectors import events_for_job, events_for_object
from audit.values import MASK

VM = Target("vm", "5", "6f0e5f0e-0000-4000-8000-000000000005", "web-1", "2", "accounting")


@pytest.mark.django_db(transaction=True)
def test_an_event_and_its_change_commit_together_or_not_at_all() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        _create_team_twice("lost")
    assert not Team.objects.exists()
    assert not AuditEvent.objects.exists()
    with transaction.atomic():
        Team.objects.create(name="kept")
        record(EventAction.TEAM_CREATED)
    assert [event.action for event in AuditEvent.objects.all()] == ["team.created"]


def _create_team_twice(name: str) -> None:
    for _ in range(2):
        Team.objects.create(name=name)
        record(EventAction.TEAM_CREATED)


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_is_recorded() -> None:
    with pytest.raises(NotInTransaction):
        record(EventAction.TEAM_CREATED)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_alone_commits_by_itself_and_refuses_where_it_could_be_rolled_back() -> None:
    event = record_alone(EventAction.EFFECT_INTENT, target=VM, outcome=Outcome.INTENT)
    assert AuditEvent.objects.get() == event
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        record_alone(EventAction.EFFECT_OUTCOME)
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_every_circumstance_is_kept() -> None:
    ines = User.objects.create(username="ines")
    circumstances = {"request_id": "req-1", "job_id": "41", "source_address": "192.0.2.7", "token_id": "3"}
    with transaction.atomic(), acting_as(ines, via="api", **circumstances):
        event = record(
            EventAction.VM_CHANGED,
            target=VM,
            outcome=Outcome.FAILED,
            reason="because\r\nof this",
            before={"memory_mib": 512},
            after={"memory_mib": 1024.5},
            detail={"password": "hunter2"},
        )
    stored = AuditEvent.objects.values().get(pk=event.pk)
    at = stored.pop("at")
    assert at == event.at
    assert at.utcoffset().total_seconds() == 0
    assert stored == {
        "id": event.pk,
        "version": 1,
        "action": "vm.changed",
        "outcome": "failed",
        "actor_kind": "user",
        "actor_id": str(ines.pk),
        "actor_name": "ines",
        "on_behalf_of_id": "",
        "on_behalf_of_name": "",
        "via": "api",
        "token_id": "3",
        "source_address": "192.0.2.7",
        "object_type": "vm",
        "object_id": "5",
        "object_uuid": VM.uuid,
        "object_name": "web-1",
        "segment_id": "2",
        "segment_name": "accounting",
        "job_id": "41",
        "request_id": "req-1",
        "reason": "because\nof this",
        "before": {"memory_mib": 512},
        "after": {"memory_mib": "1024.5"},
        "detail": {"password": MASK},
    }
    assert AuditEvent.objects.get(pk=event.pk).get_action_display() == "VM changed"  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_the_system_acts_on_behalf_of_the_person_of_the_context() -> None:
    ines = User.objects.create(username="ines")
    with transaction.atomic(), acting_as(ines, via="job", job_id="41"):
        event = record(EventAction.VM_MOVED, actor=SYSTEM)
        own = record(EventAction.VM_CHANGED, actor=ines)
    assert (event.actor_kind, event.actor_name, event.on_behalf_of_name) == ("system", "system", "ines")
    assert (own.actor_kind, own.actor_name, own.on_behalf_of_name) == ("user", "ines", "")
    with transaction.atomic(), acting_as(None, via="web"):
        signed_in = record(EventAction.USER_SIGNED_IN, actor=ines)
    assert (signed_in.actor_kind, signed_in.actor_name, signed_in.on_behalf_of_name) == ("user", "ines", "")


@pytest.mark.django_db
def test_an_object_names_itself() -> None:
    team = Team.objects.create(name="accounting")
    with transaction.atomic():
        event = record(EventAction.TEAM_CREATED, target=team)
    assert (event.object_type, event.object_id, event.object_name) == ("team", str(team.pk), "accounting")


@pytest.mark.django_db
def test_the_catalogue_is_closed() -> None:
    wrong: Any = "vm.exploded"
    with pytest.raises(ValueError, match="exploded"), transaction.atomic():
        record(wrong)
    with pytest.raises(ValueError, match="maybe"), transaction.atomic():
        record(EventAction.VM_CHANGED, outcome="maybe")  # type: ignore[arg-type]


@pytest.mark.django_db
def test_names_that_no_column_holds_are_shortened_and_made_safe() -> None:
    hostile = "a\r\n\x1b[2J\0\ud800\u202e" + "x" * 1000
    target = Target("vm", "5" * 100, hostile, hostile, hostile, hostile)
    names = {"actor_name": hostile, "job_id": hostile, "request_id": hostile, "source_address": hostile}
    with transaction.atomic(), acting(**names):
        event = record(EventAction.VM_CHANGED, target=target, reason=hostile, detail={hostile: hostile})
    stored = AuditEvent.objects.get(pk=event.pk)
    assert stored.object_name.startswith(r"a\r\n\x1b[2J")
    assert len(stored.object_name) == 255
    assert stored.object_name.isprintable()
    assert stored.detail == event.detail
    assert "\n" not in str(stored)


@pytest.mark.django_db
def test_an_objects_and_a_jobs_events_are_found_newest_first() -> None:
    with transaction.atomic():
        with acting(job_id="41"):
            first = record(EventAction.JOB_STARTED, target=VM)
            second = record(EventAction.JOB_SUCCEEDED, target=VM)
        record(EventAction.HOST_CHANGED, target=Target("host", "5"))
    assert list(events_for_object("vm", 5)) == [second, first]
    assert list(events_for_job(41)) == [second, first]


def test_every_action_is_a_noun_and_a_verb_with_a_label() -> None:
    for action in EventAction:
        noun, _, verb = action.value.partition(".")
        assert noun.isidentifier(), action
        assert verb.isidentifier(), action
        assert action.name == f"{noun}_{verb}".upper()
        assert action.label[0].isupper(), action
    assert len({action.label for action in EventAction}) == len(EventAction)
