"""Where a VM is: the decision by itself, on cases that were met and on random ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from inventory.derive import Seen, placement

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def seen(host: int, state: str, reason: str = "", *, since: int = 0, at: int = 10, gone: bool = False) -> Seen:
    return Seen(host, state, reason, T0 + timedelta(seconds=since), T0 + timedelta(seconds=at), gone)


def test_a_vm_is_where_it_runs():
    assert placement([seen(1, "running"), seen(2, "shut_off")], current_host_id=2).host_id == 1


def test_during_a_migration_it_stays_until_the_destination_runs_it():
    incoming = seen(2, "paused", "migration")
    assert placement([seen(1, "running"), incoming], 1).host_id == 1
    assert placement([seen(1, "paused", "migration"), incoming], 1).host_id == 1
    assert placement([seen(1, "paused", "migration"), seen(2, "running", "migrated")], 1).host_id == 2


def test_a_stale_running_sighting_is_no_split_brain():
    """The source was last seen running before the destination started: its word is merely old."""
    verdict = placement([seen(1, "running", since=0, at=5), seen(2, "running", "migrated", since=6, at=7)], 1)
    assert (verdict.host_id, verdict.is_split) == (2, False)


def test_two_hosts_that_ran_it_at_the_same_time_are_a_split_brain():
    verdict = placement([seen(1, "running", since=0, at=9), seen(2, "running", since=6, at=7)], 1)
    assert (verdict.host_id, verdict.is_split) == (1, True)


def test_a_vm_that_no_host_has_is_missing_and_keeps_its_last_host():
    verdict = placement([seen(1, "running", gone=True)], 1)
    assert (verdict.host_id, verdict.is_missing) == (1, True)


def test_a_vm_switched_off_stays_although_an_older_definition_lies_elsewhere():
    assert placement([seen(1, "shut_off", "shutdown", at=5), seen(2, "shut_off", at=9)], 1).host_id == 1


def test_what_was_left_behind_by_a_migration_places_nothing():
    assert placement([seen(1, "shut_off", "migrated"), seen(2, "paused", "user")], 1).host_id == 2


sightings = st.lists(
    st.builds(
        seen,
        st.integers(1, 4),
        st.sampled_from(["running", "paused", "shut_off", "crashed"]),
        st.sampled_from(["", "migration", "migrated", "booted"]),
        since=st.integers(0, 20),
        at=st.integers(20, 40),
        gone=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.host_id,
)


@given(sightings, st.one_of(st.none(), st.integers(1, 4)))
def test_the_verdict_always_rests_on_what_was_seen(rows, current):
    verdict = placement(rows, current)
    live = [row for row in rows if not row.gone]
    running = [row for row in live if row.state == "running"]
    assert verdict.is_missing == (not live)
    if live:
        assert verdict.host_id in {row.host_id for row in live}
    if running:
        assert verdict.state == "running"
        assert verdict.host_id in {row.host_id for row in running}
    if verdict.is_split:
        assert len(running) > 1


@given(sightings, st.one_of(st.none(), st.integers(1, 4)), st.randoms())
def test_the_order_of_sightings_does_not_matter(rows, current, chance):
    shuffled = list(rows)
    chance.shuffle(shuffled)
    first, second = placement(rows, current), placement(shuffled, current)
    assert first == second
