"""The contract's part about snapshots and their metadata."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hypervisor.errors import GuestStateInvalid, SnapshotExists, SnapshotFailed, SnapshotNotFound
from hypervisor.protocol import Hypervisor
from hypervisor.types import PowerState, SnapshotKind, StateReason
from tests.hypervisor.contract_base import ContractBase, Estate, Feature, needs

needs_snapshots = needs(Feature.SNAPSHOTS)


def parents(hypervisor: Hypervisor, uuid: str) -> dict[str, str]:
    """The parent of each snapshot, in the order in which they are listed."""
    return {snapshot.name: snapshot.parent for snapshot in hypervisor.list_snapshots(uuid)}


def current(hypervisor: Hypervisor, uuid: str) -> list[str]:
    """The names of the snapshots that say they are the current one."""
    return [snapshot.name for snapshot in hypervisor.list_snapshots(uuid) if snapshot.is_current]


class SnapshotContract(ContractBase):
    """Snapshots on one host."""

    @needs_snapshots
    def test_a_snapshot_of_a_running_guest(self, estate: Estate, first: Hypervisor) -> None:
        taken = first.snapshot_create(estate.guest, "before-patch", "Taken by Slipway")
        assert (taken.name, taken.description, taken.parent) == ("before-patch", "Taken by Slipway", "")
        assert taken.state is PowerState.RUNNING
        assert taken.kind is SnapshotKind.INTERNAL
        assert taken.has_memory
        assert taken.is_current
        assert len(taken.disks) > 0
        assert abs(taken.created_at - datetime.now(UTC)) < timedelta(seconds=estate.patience_seconds)
        assert first.list_snapshots(estate.guest) == [taken]
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_snapshots
    def test_a_name_is_taken_once(self, estate: Estate, first: Hypervisor) -> None:
        first.snapshot_create(estate.guest, "one", "the first")
        with pytest.raises(SnapshotExists):
            first.snapshot_create(estate.guest, "one", "the second")
        assert [snapshot.description for snapshot in first.list_snapshots(estate.guest)] == ["the first"]

    @needs_snapshots
    @pytest.mark.parametrize("name", ["", "a/b", ".hidden", "../up", "line\nbreak"])
    def test_a_name_that_cannot_be_a_file_is_refused(self, estate: Estate, first: Hypervisor, name: str) -> None:
        with pytest.raises(SnapshotFailed):
            first.snapshot_create(estate.guest, name, "")
        assert first.list_snapshots(estate.guest) == []
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_snapshots
    def test_hostile_words_are_kept_literally(self, estate: Estate, first: Hypervisor) -> None:
        name, description = "a <b> & 'c' ; $(id) `id` ü", '<script>"alert"</script> & ]]> \\ %s\n$(reboot)'
        first.snapshot_create(estate.guest, name, description)
        (listed,) = first.list_snapshots(estate.guest)
        assert (listed.name, listed.description) == (name, description)
        first.snapshot_revert(estate.guest, name)
        assert first.guest_state(estate.guest).state is PowerState.RUNNING
        first.snapshot_delete(estate.guest, name)
        assert first.list_snapshots(estate.guest) == []

    @needs_snapshots
    def test_snapshots_form_a_tree(self, estate: Estate, first: Hypervisor) -> None:
        first.snapshot_create(estate.guest, "root", "")
        first.snapshot_create(estate.guest, "left", "")
        first.snapshot_revert(estate.guest, "root")
        assert current(first, estate.guest) == ["root"]
        first.snapshot_create(estate.guest, "right", "")
        assert parents(first, estate.guest) == {"root": "", "left": "root", "right": "root"}
        assert next(iter(parents(first, estate.guest))) == "root"
        assert current(first, estate.guest) == ["right"]

    @needs_snapshots
    def test_children_move_up_when_their_parent_is_deleted(self, estate: Estate, first: Hypervisor) -> None:
        for name in ("a", "b", "c"):
            first.snapshot_create(estate.guest, name, "")
        first.snapshot_delete(estate.guest, "b")
        assert parents(first, estate.guest) == {"a": "", "c": "a"}
        first.snapshot_delete(estate.guest, "a")
        assert parents(first, estate.guest) == {"c": ""}
        first.snapshot_revert(estate.guest, "c")
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_snapshots
    def test_a_revert_brings_a_running_guest_back_running(self, estate: Estate, first: Hypervisor) -> None:
        first.snapshot_create(estate.guest, "s", "")
        first.force_off(estate.guest)
        first.snapshot_revert(estate.guest, "s")
        state = first.guest_state(estate.guest)
        assert (state.state, state.reason) == (PowerState.RUNNING, StateReason.FROM_SNAPSHOT)

    @needs_snapshots
    def test_a_revert_leaves_it_paused_if_wanted_and_it_resumes(self, estate: Estate, first: Hypervisor) -> None:
        first.snapshot_create(estate.guest, "s", "")
        first.snapshot_revert(estate.guest, "s", running=False)
        assert first.guest_state(estate.guest).state is PowerState.PAUSED
        first.resume(estate.guest)
        state = first.guest_state(estate.guest)
        assert (state.state, state.reason) == (PowerState.RUNNING, StateReason.UNPAUSED)
        with pytest.raises(GuestStateInvalid):
            first.resume(estate.guest)

    @needs_snapshots
    def test_a_snapshot_of_a_guest_that_is_off(self, estate: Estate, first: Hypervisor) -> None:
        first.force_off(estate.guest)
        taken = first.snapshot_create(estate.guest, "golden", "")
        assert taken.state is PowerState.SHUT_OFF
        assert not taken.has_memory
        first.start(estate.guest)
        first.snapshot_revert(estate.guest, "golden")
        assert first.guest_state(estate.guest).state is PowerState.SHUT_OFF
        first.snapshot_revert(estate.guest, "golden", running=False)
        assert first.guest_state(estate.guest).state is PowerState.SHUT_OFF
        first.snapshot_revert(estate.guest, "golden", running=True)
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_snapshots
    @pytest.mark.parametrize("verb", ["snapshot_revert", "snapshot_delete"])
    def test_an_unknown_snapshot_is_not_found(self, estate: Estate, first: Hypervisor, verb: str) -> None:
        first.snapshot_create(estate.guest, "here", "")
        with pytest.raises(SnapshotNotFound):
            getattr(first, verb)(estate.guest, "elsewhere")
        assert parents(first, estate.guest) == {"here": ""}
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_snapshots
    def test_metadata_is_saved_forgotten_and_put_back(self, estate: Estate, first: Hypervisor) -> None:
        for name in ("a", "b"):
            first.snapshot_create(estate.guest, name, f"the {name} one & <more>")
        first.snapshot_revert(estate.guest, "a")
        first.snapshot_create(estate.guest, "c", "")
        before = first.list_snapshots(estate.guest)
        saved = first.snapshots_export(estate.guest)
        assert {one.name: one.parent for one in saved} == {"a": "", "b": "a", "c": "a"}
        assert saved[0].name == "a"
        assert [one.name for one in saved if one.is_current] == ["c"]

        first.snapshots_forget(estate.guest, [one.name for one in saved])
        assert first.list_snapshots(estate.guest) == []
        first.snapshots_forget(estate.guest, ["a", "never-was"])

        first.snapshots_restore(estate.guest, saved[:2])
        first.snapshots_restore(estate.guest, saved)
        first.snapshots_restore(estate.guest, saved)
        by_name = {snapshot.name: snapshot for snapshot in before}
        assert {snapshot.name: snapshot for snapshot in first.list_snapshots(estate.guest)} == by_name
        first.snapshot_revert(estate.guest, "b")
        assert first.guest_state(estate.guest).state is PowerState.RUNNING
        assert current(first, estate.guest) == ["b"]

    @needs_snapshots
    def test_some_metadata_is_forgotten(self, estate: Estate, first: Hypervisor) -> None:
        for name in ("a", "b"):
            first.snapshot_create(estate.guest, name, "")
        first.snapshots_forget(estate.guest, ["b"])
        assert parents(first, estate.guest) == {"a": ""}

    @needs(Feature.SNAPSHOTS, Feature.AGENT)
    def test_a_revert_brings_the_disk_back(self, estate: Estate, first: Hypervisor) -> None:
        first.agent_write_file(estate.guest, "/root/state", b"before")
        first.agent_exec(estate.guest, ["/bin/sync"])
        first.snapshot_create(estate.guest, "s", "")
        first.agent_write_file(estate.guest, "/root/state", b"after")
        first.snapshot_revert(estate.guest, "s")
        assert first.agent_read_file(estate.guest, "/root/state") == b"before"
