"""Changing a migration while it runs: who may, when, what the hypervisor is told, and what the record says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import Grant
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from inventory.models import VM
from jobs.approvals import approval_rules_set
from jobs.controls import control_ask
from jobs.errors import InvalidRequest, InvalidTransition, NotAdmitted, OperationFailed
from jobs.models import BrokenGlass, Control, Job
from jobs.operations.migrate import obeying
from jobs.operations.migrate.monitor import Monitor
from jobs.operations.migrate.operation import Migrate
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db

Verb = Control.Verb


@pytest.fixture
def busy(estate: Estate, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Estate:
    """The estate with a guest that writes faster than the link carries; a migration of it does not end by itself."""
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "4")
    monkeypatch.setattr(obeying, "LOOK_EVERY", 0.0)
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60  # its thread would wait for this test's transaction
    config = Config(agent_channel=True, dirty_mib=400, hot_mib=700)
    uuid = simulated.create_guest("left", "busy", memory_mib=1024, config=config)
    estate.sync()
    VM.objects.update(segment=estate.segment)
    estate.vm = VM.objects.get(uuid=uuid)
    return estate


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[Job], Any], *, at_reading: int = 3) -> None:
    """Let something happen once, while the migration is watched."""
    read, seen = Monitor.read, []

    def reading(monitor: Monitor) -> bool:
        going_on = read(monitor)
        seen.append(going_on)
        if len(seen) == at_reading:
            do(Job.objects.get(pk=monitor.context.job.pk))
        return going_on

    monkeypatch.setattr(Monitor, "read", reading)


def effects(job: Job, call: str) -> list[dict[str, Any]]:
    found = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT).order_by("pk")
    return [event.detail for event in found if event.detail["call"] == call]


def test_a_migration_that_would_not_end_is_completed_at_once(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda job: control_ask(actor=busy.user, job=job, verb=Verb.FORCE_COMPLETION))
    job = busy.do("vm.migrate", bandwidth_mib=200)
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["downtime_ms"] > 500  # more than the policy allows
    assert effects(job, "migration_set_downtime")[-1]["asked_by"] == busy.user.username
    wish = Control.objects.get(job=job)
    assert (wish.outcome, wish.requested_by, wish.note) == (Control.Outcome.DONE, busy.user, "")
    event = AuditEvent.objects.get(action=EventAction.JOB_CONTROLLED)
    assert (event.actor_name, event.detail["verb"]) == (busy.user.username, "force_completion")


def test_a_wider_link_lets_it_end(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = {"verb": Verb.SET_BANDWIDTH, "value": 0}
    meanwhile(monkeypatch, lambda job: control_ask(actor=busy.user, job=job, **ask))
    job = busy.do("vm.migrate", bandwidth_mib=50)
    assert job.state == State.SUCCEEDED, job.error_message
    assert effects(job, "migration_set_bandwidth") == [
        {"call": "migration_set_bandwidth", "host": "left", "asked_by": busy.user.username, "mib": 0}
    ]


def test_post_copy_is_for_what_was_armed(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def ask(job: Job) -> None:
        try:
            control_ask(actor=busy.user, job=job, verb=Verb.START_POST_COPY)
        except NotAdmitted as error:
            refused.append(error.code)
            control_ask(actor=busy.user, job=job, verb=Verb.FORCE_COMPLETION)

    meanwhile(monkeypatch, ask)
    job = busy.do("vm.migrate", bandwidth_mib=200)
    assert (job.state, refused, job.result["post_copy"]) == (State.SUCCEEDED, ["not_armed"], False)


def test_an_armed_one_switches_when_told(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda job: control_ask(actor=busy.user, job=job, verb=Verb.START_POST_COPY))
    job = busy.do("vm.migrate", bandwidth_mib=200, policy="assured")
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["post_copy"] is True
    assert len(effects(job, "migration_start_postcopy")) == 1


def test_a_right_that_is_gone_when_it_is_done_is_not_enough(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = make.user_with("maintainer", busy.segment)

    def ask(job: Job) -> None:
        control_ask(actor=helper, job=job, verb=Verb.SET_BANDWIDTH, value=1)
        grant_revoke(actor=SYSTEM, grant=Grant.objects.get(user=helper))
        make.grant(helper, "viewer", busy.segment)
        control_ask(actor=busy.user, job=job, verb=Verb.FORCE_COMPLETION)

    meanwhile(monkeypatch, ask)
    job = busy.do("vm.migrate", bandwidth_mib=200)
    assert job.state == State.SUCCEEDED, job.error_message
    assert effects(job, "migration_set_bandwidth") == []
    wish = Control.objects.get(job=job, requested_by=helper)
    assert wish.outcome == Control.Outcome.REFUSED
    assert helper.username in wish.note


def test_what_is_asked_too_late_is_answered(busy: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever: the worker that settles the migration answers it."""
    monkeypatch.setattr(obeying.Obedience, "obey", lambda self, **_facts: [])  # it is never looked in time
    ask = {"verb": Verb.SET_BANDWIDTH, "value": 500}
    meanwhile(monkeypatch, lambda job: control_ask(actor=busy.user, job=job, **ask), at_reading=1)
    job = busy.do("vm.migrate", bandwidth_mib=900)
    assert job.state == State.SUCCEEDED, job.error_message
    wish = Control.objects.get(job=job)
    assert (wish.outcome, wish.note) == (Control.Outcome.REFUSED, "The migration was over.")


@pytest.fixture
def running(estate: Estate) -> Job:
    facts: dict[str, Any] = {"phase": "warm-up", "params": {"policy": "gentle"}}
    return make.job(estate.vm, by=estate.user, operation="vm.migrate", state=State.RUNNING, **facts)


def test_who_may(estate: Estate, running: Job) -> None:
    with pytest.raises(NotVisible):
        control_ask(actor=make.user(), job=running, verb=Verb.FORCE_COMPLETION)
    with pytest.raises(NotAllowed):
        control_ask(actor=make.user_with("operator", estate.segment), job=running, verb=Verb.FORCE_COMPLETION)
    assert not Control.objects.exists()
    control_ask(actor=make.user_with("maintainer", estate.segment), job=running, verb=Verb.FORCE_COMPLETION)
    assert Control.objects.count() == 1


@pytest.mark.parametrize(
    ("verb", "value"),
    [("explode", None), (Verb.SET_BANDWIDTH, None), (Verb.SET_BANDWIDTH, -1), (Verb.SET_BANDWIDTH, 10**7),
     (Verb.FORCE_COMPLETION, 5)],
)  # fmt: skip
def test_what_makes_no_sense(estate: Estate, running: Job, verb: str, value: int | None) -> None:
    with pytest.raises(InvalidRequest):
        control_ask(actor=estate.user, job=running, verb=verb, value=value)
    assert not Control.objects.exists()


@pytest.mark.parametrize("phase", ["stop-and-copy", "post-copy", "verifying"])
def test_past_the_switch_nothing_can_be_changed(estate: Estate, running: Job, phase: str) -> None:
    Job.objects.filter(pk=running.pk).update(phase=phase)
    with pytest.raises(NotAdmitted) as refused:
        control_ask(actor=estate.user, job=running, verb=Verb.FORCE_COMPLETION)
    assert refused.value.code == "too_late"


@pytest.mark.parametrize("state", [State.QUEUED, State.CANCELLING, State.SUCCEEDED])
def test_only_what_runs_is_controlled(estate: Estate, running: Job, state: State) -> None:
    Job.objects.filter(pk=running.pk).update(state=state)
    with pytest.raises(InvalidTransition):
        control_ask(actor=estate.user, job=running, verb=Verb.FORCE_COMPLETION)
    snapshot = Job.objects.filter(pk=running.pk)
    snapshot.update(state=State.RUNNING, operation="snapshot.create")
    with pytest.raises(InvalidTransition):
        control_ask(actor=estate.user, job=running, verb=Verb.FORCE_COMPLETION)


def test_what_the_disks_are_copied_for_is_not_past_its_switch(estate: Estate, running: Job) -> None:
    Job.objects.filter(pk=running.pk).update(phase="disk copy")
    with pytest.raises(NotAdmitted, match="disks are being copied") as refused:
        control_ask(actor=estate.user, job=running, verb=Verb.SET_BANDWIDTH, value=10)
    assert refused.value.code == "too_early"


def test_a_job_that_ends_early_leaves_no_wish_open(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    job = estate.submit("vm.migrate")

    def asks_and_fails(operation: Migrate, context: Any) -> None:
        control_ask(actor=estate.user, job=job, verb=Verb.FORCE_COMPLETION)
        raise OperationFailed("memory_short", "There is no room.")

    monkeypatch.setattr(Migrate, "precheck", asks_and_fails)
    assert estate.run(job).state == State.FAILED
    wish = Control.objects.get(job=job)
    assert (wish.outcome, wish.note, wish.settled_at is not None) == ("refused", "The migration was over.", True)


def test_nobody_goes_alone_beyond_the_pause_that_was_approved(estate: Estate, running: Job) -> None:
    approval_rules_set(actor=SYSTEM, segment=estate.segment, operations=["vm.migrate"])
    ask = {"job": running, "verb": Verb.FORCE_COMPLETION}
    colleague, approver = make.user_with("maintainer", estate.segment), make.user_with("administrator")
    with pytest.raises(NotAllowed):
        control_ask(actor=colleague, **ask)
    make.grant(estate.user, "administrator")
    with pytest.raises(NotAdmitted) as refused:
        control_ask(actor=estate.user, **ask)
    assert refused.value.code == "own_request"
    assert not Control.objects.exists()
    control_ask(actor=estate.user, job=running, verb=Verb.SET_BANDWIDTH, value=10)
    control_ask(actor=approver, **ask)
    BrokenGlass.objects.create(job=running, reason="a fire")
    control_ask(actor=estate.user, **ask)
    assert Control.objects.count() == 3


def test_who_may_not_lift_it_any_more_when_it_would_be_done_does_not(
    busy: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    approver = make.user_with("administrator")

    def ask(job: Job) -> None:
        approval_rules_set(actor=SYSTEM, segment=busy.segment, operations=["vm.migrate"])
        control_ask(actor=approver, job=job, verb=Verb.FORCE_COMPLETION)
        grant_revoke(actor=SYSTEM, grant=Grant.objects.get(user=approver))
        make.grant(approver, "maintainer", busy.segment)
        control_ask(actor=busy.user, job=job, verb=Verb.SET_BANDWIDTH, value=0)

    meanwhile(monkeypatch, ask)
    job = busy.do("vm.migrate", bandwidth_mib=50)
    assert (job.state, effects(job, "migration_set_downtime")) == (State.SUCCEEDED, [])
    assert "may not lift the pause" in Control.objects.get(verb=Verb.FORCE_COMPLETION).note
