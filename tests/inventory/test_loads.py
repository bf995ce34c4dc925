"""What a VM uses of the CPU: from counts that only grow, but begin anew with each start and on each host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.loads import FORGOTTEN_AFTER, HALF_LIFE, Use, after, cpu_times_observed
from inventory.models import VM, Load
from inventory.syncing import host_sync
from tests import factories as make
from tests.jobs.conftest import Estate, estate  # noqa: F401 - a fixture

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = 1_000_000_000


def course(*samples: tuple[float, int, int]) -> Use:
    """What is known after samples of (seconds since T0, host, count in ns)."""
    known = None
    for at, host, count in samples:
        known = after(known, host, count, T0 + timedelta(seconds=at))
    assert known is not None
    return known


def test_one_count_says_nothing_and_two_say_how_much_between_them():
    assert course((0, 1, 40 * SECOND)).cores is None
    known = course((0, 1, 40 * SECOND), (30, 1, 85 * SECOND))
    assert known.cores == 1.5
    assert known.since == T0


def test_what_was_is_forgotten_by_half_in_a_half_life():
    half_life = HALF_LIFE.total_seconds()
    known = course((0, 1, 0), (30, 1, 120 * SECOND), (30 + half_life, 1, 120 * SECOND))
    assert known.cores == pytest.approx(2.0)  # four cores once, none since


@pytest.mark.parametrize("then", [(60, 1, 3 * SECOND), (60, 2, 200 * SECOND)], ids=["started anew", "moved"])
def test_a_new_count_says_nothing_about_the_time_before_it(then):
    before = course((0, 1, 0), (30, 1, 30 * SECOND))
    known = after(before, then[1], then[2], T0 + timedelta(seconds=then[0]))
    assert (known.cores, known.since) == (before.cores, before.since)
    later = after(known, then[1], then[2] + 30 * SECOND, T0 + timedelta(seconds=90))
    assert later.cores == pytest.approx(1.0)


def test_what_nobody_saw_for_long_begins_anew():
    before = course((0, 1, 0), (30, 1, 30 * SECOND))
    at = before.observed_at + FORGOTTEN_AFTER + timedelta(seconds=1)
    known = after(before, 1, 99 * SECOND, at)
    assert (known.cores, known.since) == (None, at)


def test_two_looks_at_one_time_are_one():
    before = course((0, 1, 0), (30, 1, 30 * SECOND))
    assert after(before, 1, 31 * SECOND, before.observed_at) is before


SAMPLES = st.lists(st.tuples(st.floats(0, 2000), st.integers(1, 3), st.integers(0, 10**15)), min_size=1, max_size=20)


@given(SAMPLES)
def test_no_course_of_counts_makes_a_use_below_nothing_or_beyond_what_was_counted(samples):
    known, at, most = None, 0.0, 0.0
    for past, host, count in samples:
        at += past
        was = known
        known = after(known, host, count, T0 + timedelta(seconds=at))
        if was is not None and host == was.host_id and past >= 1:
            most = max(most, (count - was.cpu_time_ns) / 1e9 / past)
        if known.cores is not None:
            assert 0 <= known.cores <= most * (1 + 1e-6) + 1e-6
        assert known.since <= known.observed_at


@given(st.floats(0, 64), st.lists(st.floats(1, 600), min_size=1, max_size=12))
def test_a_steady_use_is_known_exactly_however_it_is_sampled(cores, pauses):
    known, at = after(None, 1, 0, T0), T0
    for pause in pauses:
        at += timedelta(seconds=pause)
        known = after(known, 1, round(cores * (at - T0).total_seconds() * 1e9), at)
    assert known.cores == pytest.approx(cores, abs=1e-4)


@pytest.mark.django_db
def test_counts_are_kept_by_vm_and_go_along_with_it():
    first, second = make.host(), make.host()
    vm, other = make.vm(host=first), make.vm(host=first)
    times = {str(vm.uuid): 0, str(other.uuid): 0}
    assert cpu_times_observed(first, times, T0) == 2
    later = T0 + timedelta(seconds=30)
    assert cpu_times_observed(first, {str(vm.uuid): 60 * SECOND, str(other.uuid): 3 * SECOND}, later) == 2
    assert vm.load.cpu_cores == 2.0
    VM.objects.filter(pk=vm.pk).update(host=second)
    assert cpu_times_observed(first, {str(vm.uuid): 61 * SECOND}, later + timedelta(seconds=5)) == 0  # it has left
    cpu_times_observed(second, {str(vm.uuid): SECOND}, later + timedelta(seconds=30))
    vm.load.refresh_from_db()
    assert (vm.load.cpu_cores, vm.load.host) == (2.0, second)
    assert Load.objects.count() == 2


@pytest.mark.django_db
def test_the_slow_lane_reads_them(estate: Estate):  # noqa: F811 - the fixture
    host_sync(estate.hosts[0], slow=True)
    load = Load.objects.get(vm=estate.vm)
    assert (load.host, load.cpu_cores) == (estate.hosts[0], None)
    Load.objects.update(observed_at=load.observed_at - timedelta(seconds=30), cpu_time_ns=0)
    host_sync(estate.hosts[0])
    load.refresh_from_db()
    assert load.cpu_cores is None  # the fast lane does not ask
    host_sync(estate.hosts[0], slow=True)
    load.refresh_from_db()
    assert load.cpu_cores is not None


def test_a_clock_that_was_set_back_does_not_keep_a_use_from_the_future_for_hours():
    ahead = course((5 * 3600, 1, 0), (5 * 3600 + 30, 1, 240 * SECOND))
    known = after(ahead, 1, 300 * SECOND, T0)
    assert (known.observed_at, known.since, known.cores) == (T0, T0, None)
