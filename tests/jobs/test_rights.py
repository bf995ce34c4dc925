"""Rights are asked again when a job starts and before each of its effects: what was withdrawn meanwhile ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access.actions import Action
from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import Grant
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from jobs.engine.context import JobContext
from jobs.models import Job
from jobs.operations.registry import OPERATIONS, operation_named
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db


#: Which right each operation asks for. Written by hand.
RIGHTS = {
    "vm.start": "power",
    "vm.shutdown": "power",
    "vm.reboot": "power",
    "vm.force_off": "power",
    "snapshot.create": "snapshot",
    "snapshot.revert": "revert",
    "snapshot.delete": "delete_snapshot",
    "vm.patch": "patch",
    "vm.migrate": "migrate",
    "vm.migrate_preview": "migrate",
    "vm.restore_definition": "edit",
    "host.drain": "operate_host",
    "host.activate": "operate_host",
    "host.prove_paths": "operate_host",
    "cluster.rebalance": "operate_host",
    "host.remove_leftovers": "operate_host",
}


def test_every_operation_stands_in_the_table() -> None:
    assert set(RIGHTS) == set(OPERATIONS)


@pytest.mark.parametrize("operation", RIGHTS)
def test_each_operation_needs_its_own_right_and_no_other_will_do(operation: str) -> None:
    kind = operation_named(operation).target_kind
    made = {"vm": lambda: make.vm(segment=make.segment()), "host": make.host, "cluster": make.cluster}
    target, person = made[kind](), make.user()
    make.grant(person, make.role_of(*(action for action in Action if action != RIGHTS[operation])), target)
    with pytest.raises(NotAllowed) as refused:
        job_submit(actor=person, operation=operation, target=target)
    assert refused.value.action == RIGHTS[operation]


def withdraw(estate: Estate, *, left: str = "") -> None:
    """Take the requester's access to the segment away, but for a role that is left."""
    for grant in Grant.objects.filter(user=estate.user, segment=estate.segment):
        grant_revoke(actor=SYSTEM, grant=grant)
    if left:
        make.grant(estate.user, left, estate.segment)


def effects() -> list[str]:
    """What was begun on hypervisors."""
    intents = AuditEvent.objects.filter(action=EventAction.EFFECT_INTENT).order_by("pk")
    return [event.detail["call"] for event in intents]


def after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, then: Callable[[], None]) -> None:
    """Let something happen once, right after a method was first called."""
    original, done = getattr(owner, name), []

    def called(*args: Any, **kwargs: Any) -> Any:
        value = original(*args, **kwargs)
        if not done:
            done.append(True)
            then()
        return value

    monkeypatch.setattr(owner, name, called)


@pytest.mark.parametrize("left", ["", "viewer"])
def test_what_was_withdrawn_while_it_waited_ends_it_before_it_begins(estate: Estate, left: str) -> None:
    job = estate.submit("snapshot.create", name="one")
    withdraw(estate, left=left)
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
    assert estate.user.username in job.error_message
    assert "Take snapshots" in job.error_message
    assert effects() == []
    assert not job.steps.exists()


@pytest.mark.parametrize("left", ["", "viewer"])
def test_what_was_withdrawn_during_the_checks_ends_it_before_its_first_effect(
    estate: Estate, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = estate.submit("snapshot.create", name="one")
    operation = type(operation_named("snapshot.create"))
    after(monkeypatch, operation, "precheck", lambda: withdraw(estate, left=left))
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
    assert effects() == []
    estate.sync()
    assert not estate.vm.snapshots.filter(missing_since=None).exists()


def test_what_was_withdrawn_after_an_effect_ends_it_before_the_next(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = estate.submit("vm.patch")
    after(monkeypatch, JobContext, "undo_effect", lambda: withdraw(estate, left="viewer"))
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
    assert effects() == ["guest_apt_update"]


@pytest.mark.parametrize("left", ["", "viewer"])
def test_the_right_to_place_is_asked_again_as_well(estate: Estate, left: str) -> None:
    job = estate.submit("vm.migrate")
    for grant in Grant.objects.filter(user=estate.user, cluster=estate.cluster):
        grant_revoke(actor=SYSTEM, grant=grant)
    if left:
        make.grant(estate.user, left, estate.cluster)
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
    assert "Place VMs" in job.error_message
    assert effects() == []


@pytest.mark.parametrize("holder", ["operator", "requester"])
def test_a_destination_that_is_not_seen_is_not_there_like_one_that_is_not(estate: Estate, holder: str) -> None:
    who = estate.user if holder == "requester" else make.user_with("platform-operator")
    hidden = make.host("elsewhere")
    for wanted in ("no-such-host", 987_654, *([hidden.pk, hidden.name] if holder == "requester" else [])):
        with pytest.raises(NotVisible):
            estate.submit("vm.migrate", by=who, destination=wanted)


def test_a_destination_that_is_seen_needs_the_right_to_place(estate: Estate) -> None:
    other = make.host()
    make.grant(estate.user, "viewer", other)
    with pytest.raises(NotAllowed):
        estate.submit("vm.migrate", destination=other.pk)


def test_a_requester_whose_account_was_closed_holds_nothing_any_more(estate: Estate) -> None:
    job = estate.submit("vm.reboot")
    type(estate.user).objects.filter(pk=estate.user.pk).update(is_active=False)
    assert estate.run(job).error_code == "right_withdrawn"
    assert effects() == []


def test_who_stops_lost_work_stops_that_alone(estate: Estate) -> None:
    lost = [make.job(make.vm(segment=estate.segment), by=estate.user, state=State.LOST) for _ in range(2)]
    job_cancel(actor=estate.user, job=lost[0])
    asked = [Job.objects.get(pk=job.pk).cancel_requested_at is not None for job in lost]
    assert asked == [True, False]
