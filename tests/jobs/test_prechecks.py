"""What is checked before a migration: each check holds for a guest in order, and fails for one thing that is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.types import Activity, Disk, GuestState, PowerState
from inventory.models import VM, Cluster, Host, HostPair
from jobs.models import Step
from jobs.operations.migrate.prechecks import Facts, read_facts, verdicts
from jobs.states import State
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db


@pytest.fixture
def facts(estate: Estate) -> Facts:
    """Of a guest that can move, as the simulated hosts tell."""
    left, right = estate.hosts
    return read_facts(estate.vm, left, right, connect(left.uri), connect(right.uri))


def failing(facts: Facts) -> list[str]:
    return [verdict.code for verdict in verdicts(facts) if not verdict.holds]


def needing(facts: Facts, **needs: Any) -> Facts:
    return replace(facts, needs=replace(facts.needs, **needs))


def lacking(facts: Facts, **lacks: Any) -> Facts:
    return replace(facts, lacks=replace(facts.lacks, **lacks))


def with_versions(facts: Facts, here: tuple[int, int, int], there: tuple[int, int, int]) -> Facts:
    return replace(
        facts,
        source_identity=replace(facts.source_identity, library_version=here),
        destination_facts=replace(facts.destination_facts, library_version=there),
    )


def in_maintenance(facts: Facts) -> Facts:
    facts.destination.availability = Host.Availability.MAINTENANCE
    return facts


def without_shared_storage(facts: Facts) -> Facts:
    facts.source.cluster = Cluster(name="main", shared_storage=False)
    return facts


def without_declaration(facts: Facts, *, shared: list[str], age: timedelta = timedelta(0)) -> Facts:
    """The cluster declares nothing; the path was proved so long ago, with this storage."""
    at = timezone.now() - age
    return replace(
        without_shared_storage(facts),
        path=HostPair(source=facts.source, destination=facts.destination, ok=True, proved_at=at, shared=shared),
    )


def another(facts: Facts, *, uuid: str = "0", name: str = "other") -> GuestState:
    return replace(facts.state, uuid=uuid, name=name)


#: Code -> what brings it about. Written by hand; a code that no case brings about fails.
CASES: dict[str, Any] = {
    "host_in_maintenance": in_maintenance,
    "path_broken": lambda f: replace(f, path=HostPair(source=f.source, destination=f.destination, ok=False)),
    "same_host": lambda f: replace(
        f, destination_facts=replace(f.destination_facts, host_uuid=f.source_identity.host_uuid)
    ),
    "stale_definition": lambda f: replace(f, there=[f.state]),
    "name_taken": lambda f: replace(f, there=[another(f, name=f.state.name)]),
    "vm_not_running": lambda f: replace(f, state=replace(f.state, state=PowerState.PAUSED)),
    "vm_busy_on_host": lambda f: replace(f, activity=Activity.OTHER),
    "block_job": lambda f: needing(f, busy_disks=("vda",)),
    "managed_save": lambda f: replace(f, definition=replace(f.definition, has_managed_save=True)),
    "device_tied": lambda f: needing(f, ties=("the TPM of the host",)),
    "storage_not_shared": without_shared_storage,
    "disk_cached": lambda f: replace(
        f, definition=replace(f.definition, disks=(Disk("vda", "disk", "/a", "qcow2", "writeback", False),))
    ),
    "emulation_unsafe": lambda f: replace(f, definition=replace(f.definition, virt_type="qemu")),
    "hypervisor_older": lambda f: replace(
        f, destination_facts=replace(f.destination_facts, hypervisor_version=(0, 9, 9))
    ),
    "machine_unknown": lambda f: lacking(f, machine="The machine 'x' is not supported."),
    "cpu_incompatible": lambda f: lacking(f, cpu="The host CPU has no avx2."),
    "cpu_passed_through": lambda f: replace(
        needing(f, cpu_mode="host-passthrough"), destination_facts=replace(f.destination_facts, cpu_model="Opteron_G1")
    ),
    "vmx_features_unknown": lambda f: with_versions(needing(f, cpu_features=("vmx-ept",)), (10, 0, 0), (9, 0, 0)),
    "firmware_missing": lambda f: lacking(f, firmware="/usr/share/OVMF/CODE.fd"),
    "file_missing": lambda f: lacking(f, files=("/iso/rescue.iso",)),
    "network_missing": lambda f: lacking(f, networks=("net-x",)),
    "filter_missing": lambda f: lacking(f, filters=("clean-traffic",)),
    "placement_rule": lambda f: replace(f, forbidden="The rule “apart” keeps ledger from right."),
    "memory_short": lambda f: replace(f, promised_mib=10**9),
}


def test_a_guest_in_order_passes_every_check(facts: Facts) -> None:
    assert failing(facts) == []


@pytest.mark.parametrize("code", CASES)
def test_one_thing_that_is_wrong_fails_one_check_with_its_code_and_a_sentence(facts: Facts, code: str) -> None:
    changed = CASES[code](facts)
    failed = [verdict for verdict in verdicts(changed) if not verdict.holds]
    assert [verdict.code for verdict in failed] == [code]
    assert failed[0].why.endswith(".")
    assert len(failed[0].why.split()) > 5


def test_every_code_that_can_be_given_has_a_case(facts: Facts) -> None:
    """Those that a check chooses between are two cases each; the rest are one check, one code."""
    chosen_between = {"same_host", "stale_definition", "storage_not_shared", "disk_cached"}
    chosen_between |= {"cpu_incompatible", "cpu_passed_through", "storage_short"}  # copies: see test_copying
    assert {verdict.code for verdict in verdicts(facts)} - chosen_between == set(CASES) - chosen_between
    names = [verdict.name for verdict in verdicts(facts)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("mode", ["host-passthrough", "maximum"])
def test_a_cpu_that_is_passed_through_needs_the_same_host_twice(facts: Facts, mode: str) -> None:
    facts = needing(facts, cpu_mode=mode)
    assert failing(facts) == []
    newer = replace(facts, destination_facts=replace(facts.destination_facts, hypervisor_version=(2, 0, 0)))
    assert failing(newer) == ["cpu_passed_through"]
    emulated = replace(newer, definition=replace(facts.definition, virt_type="qemu", kernel_cmdline="pti=on"))
    assert failing(emulated) == []


@pytest.mark.parametrize(
    ("here", "there", "trapped"),
    [
        ((9, 9, 0), (9, 0, 0), False),
        ((9, 10, 0), (9, 9, 0), True),
        ((10, 1, 0), (9, 9, 0), True),
        ((10, 1, 0), (9, 10, 0), False),
        ((10, 2, 0), (9, 9, 0), False),
    ],
)
def test_vmx_features_are_a_trap_between_certain_versions(facts: Facts, here: Any, there: Any, trapped: bool) -> None:
    changed = with_versions(needing(facts, cpu_features=("vmx-ept", "avx2")), here, there)
    assert failing(changed) == (["vmx_features_unknown"] if trapped else [])
    assert failing(with_versions(needing(facts, cpu_features=("avx2",)), here, there)) == []


def test_storage_that_was_seen_to_be_shared_needs_no_declaration(facts: Facts) -> None:
    where = "/var/lib/libvirt/images"
    proved = without_declaration(facts, shared=[where])
    assert failing(proved) == []
    verdict = next(verdict for verdict in verdicts(proved) if verdict.name == "storage")
    assert verdict.found == "1 seen to be shared"
    assert failing(without_declaration(facts, shared=["/elsewhere", f"{where}/deeper"])) == ["storage_not_shared"]
    assert failing(without_declaration(facts, shared=[where], age=timedelta(hours=31))) == ["storage_not_shared"]


def test_a_disk_on_the_network_is_shared(facts: Facts) -> None:
    disk = Disk("vda", "disk", "rbd:pool/image", "raw", "writeback", False, source_kind="network")
    changed = replace(without_shared_storage(facts), definition=replace(facts.definition, disks=(disk,)))
    assert failing(changed) == []


def test_files_that_no_pool_shows_are_said_and_allowed(facts: Facts) -> None:
    changed = lacking(needing(facts, files=("/boot/k", "/iso/a")), unproved=("/boot/k",))
    verdict = next(verdict for verdict in verdicts(changed) if verdict.name == "files")
    assert verdict.holds
    assert verdict.found == "1 there, 1 in no pool, so that nobody can tell: /boot/k"


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (Config(machine="pc-q35-99.1"), "machine_unknown"),
        (Config(filters=("nobodys-filter",)), "filter_missing"),
        (Config(hostdevs=("pci 0000:06:00.0",)), "device_tied"),
    ],
)
def test_a_migration_is_refused_before_anything_is_touched(estate: Estate, config: Config, code: str) -> None:
    uuid = simulated.create_guest("left", "odd", config=config)
    estate.sync()
    estate.vm = VM.objects.get(uuid=uuid)
    VM.objects.filter(pk=estate.vm.pk).update(segment=estate.segment)
    job = estate.do("vm.migrate")
    assert (job.state, job.error_code) == (State.FAILED, code)
    assert Step.objects.filter(job=job, state=Step.State.FAILED).count() == 1
    assert not job.journal.get("began")
