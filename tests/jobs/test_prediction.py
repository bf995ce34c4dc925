"""What a migration will come to: the figures by themselves, and the preview that asks the hosts and touches nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor import pool
from hypervisor.connect import connect
from hypervisor.errors import HostUnreachable
from hypervisor.simulated_driver.faults import Fault, plant
from inventory.models import Host
from jobs.models import Job, JobLock
from jobs.operations.migrate.policies import policy_named
from jobs.operations.migrate.prediction import MIB, predict
from jobs.operations.rebalance.reading import read
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate

GENTLE = policy_named("gentle")
GIB = 2**30


def test_a_quiet_guest_is_sent_once() -> None:
    foretold = predict(GIB, 0, 100 * MIB, GENTLE)
    assert (foretold.ends, foretold.seconds) == (True, 10.2)
    assert foretold.pause_ms is not None
    assert foretold.pause_ms <= 500
    assert "writes less than 1 MiB/s" in foretold.sentence
    assert "in one pass" in foretold.sentence


def test_each_pass_sends_what_was_written_during_the_one_before() -> None:
    # 1 GiB at 100 MiB/s: 10.24 s; half of that is written meanwhile, and so on: 5.12, 2.56, 1.28, 0.64, 0.32 s.
    foretold = predict(GIB, 50 * MIB, 100 * MIB, GENTLE)
    assert foretold.ends is True
    assert foretold.pause_ms == 320
    assert foretold.seconds == pytest.approx(10.24 + 5.12 + 2.56 + 1.28 + 0.64 + 0.32, abs=0.1)
    assert "in 5 passes" in foretold.sentence


def test_a_guest_that_writes_more_than_the_link_carries_does_not_end_and_the_ways_out_are_named() -> None:
    foretold = predict(GIB, 200 * MIB, 100 * MIB, GENTLE)
    assert (foretold.ends, foretold.seconds, foretold.pause_ms) == (False, None, None)
    for words in ("200 MiB/s", "100 MiB/s", "750 ms", "10.2 s", "assured", "longer pause"):
        assert words in foretold.sentence
    assert "it will switch to post-copy" in predict(GIB, 200 * MIB, 100 * MIB, policy_named("assured", None)).sentence


def test_what_fits_into_the_pause_ends_however_much_is_written() -> None:
    foretold = predict(64 * MIB, 900 * MIB, 200 * MIB, GENTLE)
    assert (foretold.ends, foretold.pause_ms) == (True, 320)


def test_a_policy_with_a_long_pause_ends_what_makes_no_headway_and_says_how() -> None:
    foretold = predict(256 * MIB, 200 * MIB, 100 * MIB, policy_named("pause-ok"))
    assert (foretold.ends, foretold.pause_ms, foretold.seconds) == (True, 2560, 45.1)
    for words in ("no headway", "after some 40 s", "2560 ms", "pause-ok"):
        assert words in foretold.sentence
    assert predict(600 * MIB, 200 * MIB, 100 * MIB, policy_named("pause-ok")).ends is False


def test_without_a_known_link_nothing_is_foretold() -> None:
    foretold = predict(GIB, 10 * MIB, None, GENTLE)
    assert (foretold.ends, foretold.seconds, foretold.pause_ms) == (None, None, None)
    assert "not known yet" in foretold.sentence


@given(
    st.integers(1, 2**42), st.integers(0, 2**36), st.integers(1, 2**36), st.integers(1, 2_000_000),
    st.sampled_from(["gentle", "assured", "pause-ok", "large"]),
)  # fmt: skip
def test_a_foretold_pause_is_never_above_what_is_allowed(
    memory: int, dirty: int, link: int, allowed: int, name: str
) -> None:
    foretold = predict(memory, dirty, link, policy_named(name, allowed))
    if foretold.ends:
        assert foretold.pause_ms is not None
        assert foretold.pause_ms <= allowed
        assert foretold.seconds is not None
        assert foretold.seconds >= round(memory / link, 1) * 0.99 or foretold.pause_ms <= allowed
    else:
        assert dirty / link > 0.98  # else the passes shrink soon enough
        assert foretold.sentence


def test_the_preview_tells_and_touches_nothing(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    job = estate.do("vm.migrate_preview", bandwidth_mib=50)
    assert job.state == State.SUCCEEDED, job.error_message
    assert (job.result["would_begin"], job.result["refused"], job.result["snapshots"]) == (True, [], 1)
    assert (job.result["ends"], job.result["link_bps"]) == (True, 50 * MIB)
    assert job.result["dirty_bps"] == 4 * MIB
    assert {"identity", "storage", "networks", "capacity", "dirty_rate"} <= set(
        job.steps.values_list("name", flat=True)
    )
    assert not AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT).exists()
    assert [guest.name for guest in connect(estate.hosts[1].uri).list_guests()] == []


def test_the_preview_names_everything_that_is_in_the_way(estate: Estate) -> None:
    estate.cluster.shared_storage = False
    estate.cluster.save()
    Host.objects.filter(pk=estate.hosts[0].pk).update(cluster=estate.cluster)
    other = make.vm(host=estate.hosts[1])
    connect(estate.hosts[1].uri)  # the destination itself has room and networks
    job = estate.do("vm.migrate_preview")
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["would_begin"] is False
    assert [one["code"] for one in job.result["refused"]] == ["storage_not_shared"]
    assert "were not seen to share that storage" in job.result["refused"][0]["message"]
    assert job.steps.get(name="storage").state == "failed"
    assert other.pk != estate.vm.pk


def test_the_preview_holds_nobody_up(estate: Estate) -> None:
    held = estate.submit("snapshot.create", name="one")
    assert JobLock.objects.count() == 1
    job = estate.do("vm.migrate_preview")
    assert job.state == State.SUCCEEDED, job.error_message
    assert Job.objects.get(pk=held.pk).state == State.QUEUED


def test_a_host_that_does_not_answer_ends_the_preview(estate: Estate) -> None:
    job = estate.submit("vm.migrate_preview", destination="right")
    plant(Fault.HOST_DOWN, "right")
    estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "host_unreachable")


def test_what_a_connection_said_is_told_to_nobody_who_only_sees_the_vm(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(uri: object) -> None:
        raise HostUnreachable("unable to connect to server at '10.1.2.3:16514': Connection refused")

    monkeypatch.setattr(pool, "connect", refuses)
    pool.close_idle()
    for operation in ("vm.migrate_preview", "vm.migrate", "vm.reboot"):
        job = estate.do(operation)
        assert (job.state, job.error_code) == (State.FAILED, "host_unreachable")
        assert job.error_message == "left cannot be reached; its page says more to who operates it."
        assert not any("10.1.2.3" in step.detail for step in job.steps.all())


def test_a_preview_keeps_no_vm_from_being_moved(estate: Estate) -> None:
    make.job(estate.vm, by=estate.user, operation="vm.migrate_preview", state=State.RUNNING)
    reading = read(estate.user, estate.cluster)
    assert reading is not None
    assert reading.estate.movable is not None
    assert reading.estate.movable.tolist() == [True]


def test_the_link_is_as_fast_as_it_was_last_time(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "2")  # slow enough to be watched
    assert estate.do("vm.migrate_preview").result["link_bps"] is None
    moved = estate.do("vm.migrate")
    assert moved.state == State.SUCCEEDED, moved.error_message
    assert moved.result["link_bps"] > 0
    back = estate.do("vm.migrate", bandwidth_mib=900)
    assert (back.state, back.result["link_bps"]) == (State.SUCCEEDED, None)  # a cap tells nothing of the link
    assert estate.do("vm.migrate_preview").result["link_bps"] == moved.result["link_bps"]
