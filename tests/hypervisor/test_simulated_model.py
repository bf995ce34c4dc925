"""The arithmetic of a migration: laws that hold for any guest, link and limit."""

from __future__ import annotations

import dataclasses

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hypervisor.simulated_driver.model import (
    DEVICES_SECONDS,
    Milestone,
    Model,
    Phase,
    advance,
    before_next,
    can_abort,
    next_due,
    progress,
    with_abort,
    with_bandwidth_cap,
    with_max_downtime,
    with_postcopy,
)

MIB = 1024**2
#: More passes than any migration of these strategies needs that ends by itself.
MANY_PASSES = 500


@st.composite
def models(draw: st.DrawFn, auto_converge: bool | None = None) -> Model:
    """Guests of up to 64 GiB, idle or busy, on links from slow to fast."""
    total = draw(st.integers(1, 65536)) * MIB
    resident = round(total * draw(st.floats(0.01, 1)))
    return Model(
        total_bytes=total,
        resident_bytes=resident,
        hot_bytes=round(resident * draw(st.floats(0, 1))),
        dirty_bps=draw(st.floats(0, 4000)) * MIB,
        link_bps=draw(st.floats(1, 4000)) * MIB,
        max_downtime_ms=draw(st.integers(10, 5000)),
        auto_converge=draw(st.booleans()) if auto_converge is None else auto_converge,
    )


@st.composite
def models_in_precopy(draw: st.DrawFn) -> Model:
    """A migration somewhere in one of its first passes."""
    model = draw(models())
    model, _ = advance(model, next_due(model))
    for _ in range(draw(st.integers(0, 5))):
        later, _ = advance(model, next_due(model))
        if later.phase is not Phase.PRECOPY:
            break
        model = later
    return before_next(model, model.clock + draw(st.floats(0, 0.99)) * (next_due(model) - model.clock))


def run_out(model: Model) -> tuple[Model, list[Milestone]]:
    """Until it is over, or has had very many passes."""
    passed: list[Milestone] = []
    while not model.over and model.iteration < MANY_PASSES:
        model, more = advance(model, next_due(model))
        passed += more
    return model, passed


def converges(model: Model) -> bool:
    """The law: the working set fits into the allowed pause, or the guest dirties more slowly than the link sends."""
    fits = model.hot_bytes <= model.bandwidth_bps * model.max_downtime_ms / 1000
    slowest = model.dirty_bps * (0.01 if model.auto_converge else 1)
    assume(fits or not 0.9 < slowest / model.bandwidth_bps < 1.1)
    assume(fits or abs(model.hot_bytes / (model.bandwidth_bps * model.max_downtime_ms / 1000) - 1) > 1e-9)
    return fits or slowest < model.bandwidth_bps


@given(models())
@settings(deadline=None)
def test_it_ends_if_and_only_if_it_can_converge(model: Model) -> None:
    expected = converges(model)
    end, _ = run_out(model)
    assert (end.phase is Phase.COMPLETED) == expected


@given(models(), st.lists(st.floats(0, 30), max_size=12))
@settings(deadline=None)
def test_many_looks_see_what_one_look_sees(model: Model, strides: list[float]) -> None:
    in_strides, passed = model, list[Milestone]()
    for stride in strides:
        in_strides, more = advance(in_strides, in_strides.clock + stride)
        passed += more
    at_once, passed_at_once = advance(model, in_strides.clock)
    assert in_strides == at_once
    assert tuple(passed) == passed_at_once


@given(models(), st.lists(st.floats(0, 60), min_size=2, max_size=20))
@settings(deadline=None)
def test_what_is_reported_makes_sense(model: Model, strides: list[float]) -> None:
    before = progress(model)
    for stride in strides:
        model, _ = advance(model, model.clock + stride)
        now = progress(model)
        assert 0 <= now.memory_remaining_bytes <= model.total_bytes
        assert now.memory_total_bytes in (0, model.total_bytes)
        assert now.memory_processed_bytes >= before.memory_processed_bytes - 1
        assert now.iteration >= before.iteration
        assert now.throttle_percent >= before.throttle_percent
        assert 0 <= now.throttle_percent <= 99
        assert now.elapsed_ms >= before.elapsed_ms
        assert model.dirty_bytes <= model.hot_bytes
        before = now


@given(models(auto_converge=False), st.floats(1, 10))
@settings(deadline=None)
def test_a_faster_link_is_never_slower(model: Model, factor: float) -> None:
    assume(model.dirty_bps < 0.9 * model.link_bps)
    slow, _ = run_out(model)
    fast, _ = run_out(dataclasses.replace(model, link_bps=model.link_bps * factor))
    assert slow.phase is fast.phase is Phase.COMPLETED
    assert fast.clock <= slow.clock * (1 + 1e-9)


@given(models())
@settings(deadline=None)
def test_the_pause_keeps_to_its_limit(model: Model) -> None:
    end, _ = run_out(model)
    if end.phase is Phase.COMPLETED:
        assert progress(end).completed
        assert progress(end).downtime_ms <= model.max_downtime_ms + DEVICES_SECONDS * 1000 + 1


@given(models())
@settings(deadline=None)
def test_milestones_come_in_order(model: Model) -> None:
    end, passed = run_out(model)
    assert passed[0] is Milestone.DESTINATION_READY
    assert passed.count(Milestone.ITERATION) == end.iteration - 1
    if end.phase is Phase.COMPLETED:
        assert passed[-3:] == [Milestone.STOPPED, Milestone.SWITCHED, Milestone.COMPLETED]
    assert set(passed[1:-3]) <= {Milestone.ITERATION}


@given(models_in_precopy())
@settings(deadline=None)
def test_an_abort_leaves_the_guest_on_the_source(model: Model) -> None:
    assert can_abort(model)
    end, passed = advance(with_abort(model), model.clock + 1)
    if Milestone.SWITCHED in passed:  # it was quicker than the abort
        assert next_due(model) < model.clock + 0.06
        assert end.phase in (Phase.SWITCHED, Phase.COMPLETED)
    else:
        assert end.phase is Phase.ABORTED
        assert passed[-1] is Milestone.ABORTED


@given(models_in_precopy())
@settings(deadline=None)
def test_postcopy_always_ends_and_pauses_briefly(model: Model) -> None:
    assume(next_due(model) > model.clock + 0.06)
    end, passed = run_out(with_postcopy(model))
    assert passed == [Milestone.POSTCOPY, Milestone.SWITCHED, Milestone.COMPLETED]
    assert progress(end).downtime_ms == round(DEVICES_SECONDS * 1000)
    assert end.clock - model.clock <= model.resident_bytes / model.bandwidth_bps + 1


@given(models_in_precopy())
@settings(deadline=None)
def test_a_large_enough_limit_ends_any_migration_within_a_pass(model: Model) -> None:
    needed_ms = int(model.hot_bytes / model.bandwidth_bps * 1000) + 1
    changed = with_max_downtime(model, needed_ms)
    _, milestone = advance(changed, next_due(changed))
    assert milestone == (Milestone.STOPPED,)


@given(models_in_precopy(), st.floats(1, 1000))
@settings(deadline=None)
def test_a_cap_changes_the_speed_and_nothing_that_was_sent(model: Model, cap_mib: float) -> None:
    capped = with_bandwidth_cap(model, cap_mib * MIB)
    assert abs(capped.left_bytes - model.left_bytes) <= 1
    assert capped.bandwidth_bps == min(model.link_bps, cap_mib * MIB)
    assert with_bandwidth_cap(capped, 0).bandwidth_bps == model.link_bps


@given(models(), st.floats(0, 99))
@settings(deadline=None)
def test_a_planted_failure_strikes_where_it_was_planted(model: Model, percent: float) -> None:
    end, passed = run_out(dataclasses.replace(model, fail_at_percent=percent))
    assert passed == [Milestone.DESTINATION_READY, Milestone.FAILED]
    sent = 100 * (1 - progress(dataclasses.replace(end, phase=Phase.PRECOPY)).memory_remaining_bytes / end.total_bytes)
    assert abs(sent - percent) < 0.01


def test_auto_converge_throttles_as_qemu_does() -> None:
    model = Model(512 * MIB, 256 * MIB, 64 * MIB, dirty_bps=40 * MIB, link_bps=20 * MIB)
    seen = [0]
    while not model.over:
        model, _ = advance(model, next_due(model))
        if model.throttle_percent != seen[-1]:
            seen.append(model.throttle_percent)
    assert seen[:4] == [0, 20, 30, 40]
    assert model.phase is Phase.COMPLETED


def test_without_it_the_same_guest_never_ends() -> None:
    model = Model(512 * MIB, 256 * MIB, 64 * MIB, dirty_bps=40 * MIB, link_bps=20 * MIB, auto_converge=False)
    later, _ = advance(model, 3600)
    assert later.phase is Phase.PRECOPY
    assert progress(later).downtime_ms > 3000
    assert progress(later).dirty_bps <= 40 * MIB
