"""Every call that changes something on a hypervisor stands in the record twice: before it, and after it.

Each operation of the registry runs on the simulated estate with a spy on every connection. The two lists of calls are
written by hand; one that is in neither fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from hypervisor import pool
from hypervisor.connect import connect
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver.storage import DIRECTORY
from inventory.models import Host, Leftover
from jobs.models import Job
from jobs.operations.registry import OPERATIONS
from jobs.services import job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate
from tests.jobs.test_definition import changed_behind_our_back

CHANGING = frozenset(
    {
        "start", "shutdown", "reboot", "force_off", "resume", "snapshot_create", "snapshot_revert", "snapshot_delete",
        "snapshots_forget", "snapshots_restore", "migrate", "migration_abort", "migration_set_downtime",
        "migration_set_bandwidth", "migration_start_postcopy", "mark_operation", "set_autostart", "define", "redefine",
        "undefine", "agent_write_file", "agent_set_clock", "canary_start", "volume_create", "markers_remove",
        "volume_remove",
    }
)  # fmt: skip
READING = frozenset(
    {
        "is_alive", "close", "together", "identify_host", "describe_host", "list_guests", "guest_state",
        "guest_definition", "list_snapshots", "list_networks", "missing_networks", "activity", "pulse",
        "cpu_times_ns", "disk_errors", "watch", "snapshots_export", "migration_progress", "completed_migration",
        "agent_ping", "agent_clock", "agent_read_file", "dirty_rate", "guest_needs", "missing_for", "storage_pools",
        "pool_free", "disk_capacity", "files_in_use", "volume_seen",
    }
)  # fmt: skip
#: Runs a program in the guest. These only ask.
RUNNING = "agent_exec"
ASKING = tuple(
    f"{RUNNING} {program}"
    for program in ("df", "dpkg", "dpkg-query", "systemctl show", "systemctl list-units", "apt-get -s")
)
#: Operation -> its effects in order, by the name that the record has, each with the calls that it consists of.
EFFECTS: dict[str, list[tuple[str, list[str]]]] = {
    "vm.start": [("start", ["start"])],
    "vm.shutdown": [("shutdown", ["shutdown"])],
    "vm.reboot": [("reboot", ["reboot"])],
    "vm.force_off": [("force_off", ["force_off"])],
    "snapshot.create": [("snapshot_create", ["snapshot_create"])],
    "snapshot.revert": [("snapshot_create", ["snapshot_create"]), ("snapshot_revert", ["snapshot_revert"])],
    "snapshot.delete": [("snapshot_delete", ["snapshot_delete"])],
    "vm.migrate": [
        ("snapshots_forget", ["snapshots_forget"]),
        # The mark, by which recovery finds it, and the first limit of the pause (BESIDE) are in the event's detail.
        ("migrate", ["mark_operation", "migrate"]),
        ("snapshots_restore", ["snapshots_restore"]),
        ("mark_operation", ["mark_operation"]),
    ],
    "vm.migrate_preview": [],
    "vm.restore_definition": [("redefine", ["redefine"])],
    "vm.patch": [
        ("guest_apt_update", [f"{RUNNING} apt-get"]),
        ("snapshot_create", ["snapshot_create"]),
        ("guest_apply", [f"{RUNNING} systemd-run"]),
        ("guest_forget_unit", [f"{RUNNING} systemctl stop", f"{RUNNING} systemctl reset-failed"]),
    ],
    # What they do to a hypervisor, their parts do: jobs of the kinds above.
    "host.drain": [],
    "host.activate": [],
    "cluster.rebalance": [],
    # There and back: each canary is started, migrated and taken away.
    "host.remove_leftovers": [("volume_remove", ["volume_remove"])],
    "host.prove_paths": [
        ("prove_path", ["canary_start", "migrate", "force_off"]),
        ("prove_storage", ["markers_remove", "volume_create", "markers_remove"]),
    ]
    * 2,
}
#: Calls that are made while another is under way, at no certain place among the others, and by which intent.
BESIDE = {("migration_set_downtime", "migrate")}


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """The spy looks at what has been committed."""


class Spy:
    """A connection that notes each call that changes something, and what stood in the record then."""

    def __init__(self, inner: Hypervisor, seen: list[tuple[str, str]]) -> None:
        self._inner, self._seen = inner, seen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return found if name in READING or name.startswith("_") else self._noted(name, found)

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            what = f"{name} {_program(args[1])}" if name == RUNNING else name
            self._seen.append((what, _last_intent()))
            return call(*args, **kwargs)

        return noted


def _program(argv: Sequence[str]) -> str:
    """The program that is run, without the variables before it; with the word that says whether it only asks."""
    words = [word for word in argv if word != "env" and "=" not in word.partition("/")[0]]
    if words[0] == "systemctl":
        return f"systemctl {words[1]}"
    return f"{words[0]} -s" if "-s" in words else words[0]


def _last_intent() -> str:
    """The call that the last committed intent names."""
    last = AuditEvent.objects.filter(action=EventAction.EFFECT_INTENT).order_by("-pk").first()
    if threading.current_thread() is not threading.main_thread():
        connection.close()
    return str(last.detail["call"]) if last is not None else ""


@pytest.fixture
def seen(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every changing call made from now on, with the intent that was committed last before it."""
    calls: list[tuple[str, str]] = []
    pool.close_idle()
    monkeypatch.setattr(pool, "connect", lambda uri: Spy(connect(uri), calls))
    return calls


def test_every_call_of_the_protocol_changes_or_reads():
    names = {name for name in dir(Hypervisor) if not name.startswith("_")}
    # No operation opens a console; what the gateway tells of one is in tests/console.
    assert names - CHANGING - READING == {RUNNING, "open_console"}
    assert names >= CHANGING | READING


def prepare(estate: Estate, name: str) -> dict[str, Any]:
    """Make what an operation needs. Returns its parameters."""
    if name in ("snapshot.revert", "snapshot.delete", "vm.migrate"):
        assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    if name == "vm.start":
        assert estate.do("vm.force_off").state == State.SUCCEEDED
    if name == "vm.restore_definition":
        changed_behind_our_back(estate)
    if name == "snapshot.create":
        return {"name": "one"}
    return {"snapshot": "base"} if name in ("snapshot.revert", "snapshot.delete") else {}


def on_empty_host(estate: Estate, name: str) -> Job:
    """Work on the host that nothing runs on, or on the cluster that is even, so that the job has no parts."""
    if name == "cluster.rebalance":
        make.grant(estate.user, "platform-operator", estate.cluster)
        return estate.run(job_submit(actor=estate.user, operation=name, target=estate.cluster, params={"mode": "run"}))
    host = estate.hosts[1]
    make.grant(estate.user, "platform-operator", host)
    if name == "host.activate":
        Host.objects.filter(pk=host.pk).update(availability=Host.Availability.MAINTENANCE)
    if name == "host.remove_leftovers":
        image = f"{DIRECTORY}/elsewhere-now.qcow2"
        now = timezone.now()
        Leftover.objects.create(host=host, vm=estate.vm, vm_name="x", path=image, left_at=now, remove_after=now)
    return estate.run(job_submit(actor=estate.user, operation=name, target=Host.objects.get(pk=host.pk)))


def test_every_operation_is_here():
    assert set(EFFECTS) == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_effect_stands_in_the_record_before_and_after_it(estate: Estate, seen: list[tuple[str, str]], name: str):
    params = prepare(estate, name)
    seen.clear()
    job = estate.do(name, **params) if OPERATIONS[name].target_kind == "vm" else on_empty_host(estate, name)
    assert job.state == State.SUCCEEDED, job.error_message
    expected = EFFECTS[name]
    made = [(call, intent) for call, intent in seen if not call.startswith(ASKING)]
    assert [call for call in made if call not in BESIDE] == [
        (call, effect) for effect, calls in expected for call in calls
    ]
    told = AuditEvent.objects.filter(
        job_id=str(job.pk), action__in=[EventAction.EFFECT_INTENT, EventAction.EFFECT_OUTCOME]
    )
    assert [(event.detail["call"], event.outcome) for event in told.order_by("pk")] == [
        (effect, outcome) for effect, _calls in expected for outcome in (Outcome.INTENT, Outcome.OK)
    ]
    if not expected:
        return
    who = {(event.actor_kind, event.actor_name, event.via) for event in told}
    assert who == {("user", estate.user.username, "job")}
