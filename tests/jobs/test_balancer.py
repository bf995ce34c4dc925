"""The regular look: advice is kept, automatic begins a job, both only after two looks, neither too often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from access.gate import SYSTEM
from inventory.models import ApprovalRule, Cluster, Host
from inventory.services.hosts import cluster_change, cluster_create
from jobs import balancer
from jobs.balancer import (
    COOL_DOWN,
    COOL_DOWN_AFTER_FAILURE,
    EVERY,
    MOVES_PER_LOOK,
    WINDOW_GOOD_FOR,
    Decision,
    balance,
    decision,
)
from jobs.models import Job, Look
from jobs.services import job_submit
from jobs.states import State
from portal.celery import app
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work
from tests.jobs.test_rebalance import BUSY, uses

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@given(
    st.sampled_from(Cluster.Balancing.values),
    st.integers(0, 3),
    st.booleans(),
    st.none() | st.timedeltas(timedelta(0), timedelta(hours=3)),
    st.booleans(),
)
def test_what_follows_from_a_look(mode, planned, is_first, ago, failed):
    ended = None if ago is None else NOW - ago
    found = decision(mode, planned, is_first=is_first, last_ended=ended, last_failed=failed, now=NOW)
    if mode == "off" or not planned or is_first:
        assert found is Decision.NOTHING
    elif mode == "advise":
        assert found is Decision.ADVISE
    else:
        pause = COOL_DOWN_AFTER_FAILURE if failed else COOL_DOWN
        assert (found is Decision.BEGIN) is (ago is None or ago >= pause)


def test_the_schedule_has_it():
    entry = app.conf.beat_schedule["balance"]
    assert (entry["task"], entry["schedule"]) == ("jobs.balance", EVERY.total_seconds())


@pytest.fixture
def crowded(fleet: Fleet) -> Fleet:
    uses(BUSY, "web-1", "web-2", "web-3", "web-4")
    uses(0.1, "ledger")
    return fleet


def set_to(mode: str) -> None:
    cluster_change(actor=SYSTEM, cluster=Cluster.objects.get(), balancing=mode)


def look_again(ago: timedelta = EVERY) -> dict[str, int]:
    """As if the last look had been that long ago."""
    Look.objects.update(looked_at=timezone.now() - ago)
    return balance()


@pytest.mark.django_db
def test_nobody_looks_at_a_cluster_that_is_not_to_be_balanced(crowded: Fleet) -> None:
    assert balance() == {"looked": 0, "begun": 0}
    assert not Look.objects.exists()


@pytest.mark.django_db
def test_advice_comes_with_the_second_look_and_goes_with_its_reason(crowded: Fleet) -> None:
    set_to("advise")
    assert balance() == {"looked": 1, "begun": 0}
    assert Look.objects.get().planned == 0
    look_again()
    look = Look.objects.get()
    assert look.planned >= 2
    assert "over the mean of CPU" in look.verdict
    uses(0.1, "web-1", "web-2", "web-3", "web-4")
    look_again()
    assert Look.objects.get().planned == 0
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_one_strained_look_between_two_others_starts_nothing(crowded: Fleet) -> None:
    set_to("automatic")
    for cores in (0.1, BUSY, 0.1):
        uses(cores, "web-1", "web-2", "web-3", "web-4")
        assert look_again()["begun"] == 0
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_what_was_seen_long_ago_is_no_second_look(crowded: Fleet) -> None:
    set_to("automatic")
    balance()
    assert look_again(WINDOW_GOOD_FOR + timedelta(seconds=5))["begun"] == 0
    assert look_again()["begun"] == 1


@pytest.mark.django_db
def test_other_hosts_make_another_first_look(crowded: Fleet) -> None:
    set_to("automatic")
    balance()
    Host.objects.filter(name="third").update(connection=Host.Connection.UNREACHABLE)
    assert look_again()["begun"] == 0


@pytest.mark.django_db
def test_automatic_moves_two_at_most_in_slipways_own_name_and_then_waits(crowded: Fleet) -> None:
    set_to("automatic")
    balance()
    assert look_again()["begun"] == 1
    job = Job.objects.get(operation="cluster.rebalance")
    assert (job.requested_by, job.params["most_moves"]) == (None, MOVES_PER_LOOK)
    assert look_again()["begun"] == 0  # never two at a time
    work(job)
    assert job.state == State.SUCCEEDED, job.error_message
    assert 1 <= job.result["moved"] <= MOVES_PER_LOOK
    uses(BUSY, "ledger")
    look_again()
    assert look_again()["begun"] == 0  # it cools down
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - COOL_DOWN)
    begun = look_again()["begun"]
    assert begun == (1 if Look.objects.get().planned else 0)


@pytest.mark.django_db
def test_what_somebody_would_have_to_approve_is_not_moved_by_itself(crowded: Fleet) -> None:
    ApprovalRule.objects.create(segment=crowded.estate.segment, operation="vm.migrate")
    set_to("automatic")
    balance()
    assert look_again()["begun"] == 0
    assert Look.objects.get().planned == 0
    by_hand = job_submit(
        actor=crowded.operator, operation="cluster.rebalance", target=Cluster.objects.get(), params={"mode": "run"}
    )
    assert by_hand.state == State.AWAITING_APPROVAL


def test_a_cluster_that_cannot_be_looked_at_keeps_no_other_from_it(db, monkeypatch):
    for name in ("one", "two"):
        cluster_create(actor=SYSTEM, name=name, shared_storage=True)
    Cluster.objects.update(balancing=Cluster.Balancing.ADVISE)
    seen = []

    def looks(cluster):
        seen.append(cluster.name)
        if len(seen) == 1:
            raise ValueError("a figure that nobody foresaw")
        return Decision.ADVISE

    monkeypatch.setattr(balancer, "_look", looks)
    assert balance() == {"looked": 2, "begun": 0}
    assert sorted(seen) == ["one", "two"]
