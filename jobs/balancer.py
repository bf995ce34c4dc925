"""The regular look at each cluster that is to be balanced: advice that is kept for the pages, or a job."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from inventory.models import Cluster
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job, Look
from jobs.operations.rebalance.proposal import propose
from jobs.services import job_submit
from jobs.states import State

log = logging.getLogger(__name__)

#: How often each cluster is looked at (DRS did so every five minutes until vSphere 7).
EVERY = timedelta(minutes=5)
#: What was seen longer ago than this says nothing about the time since.
WINDOW_GOOD_FOR = 3 * EVERY
#: So many moves in one go, so that what they did is seen before the next.
MOVES_PER_LOOK = 2
#: So long after a rebalance that went well, and after one that did not, the next begins by itself.
COOL_DOWN, COOL_DOWN_AFTER_FAILURE = timedelta(minutes=10), timedelta(hours=1)

OPERATION = "cluster.rebalance"
Mode = Cluster.Balancing


class Decision(StrEnum):
    """What to do after a look."""

    NOTHING = "nothing"
    ADVISE = "advise"
    BEGIN = "begin"


def decision(
    mode: str, planned: int, *, is_first: bool, last_ended: datetime | None, last_failed: bool, now: datetime
) -> Decision:
    """What follows from a look that found so many moves to be worth it. Pure.

    Nothing follows from a first look: a cluster is strained when two looks on end find it so. This is also the place
    that will ask whether a maintenance window is open.
    """
    if mode == Mode.OFF or not planned or is_first:
        return Decision.NOTHING
    if mode == Mode.ADVISE:
        return Decision.ADVISE
    pause = COOL_DOWN_AFTER_FAILURE if last_failed else COOL_DOWN
    return Decision.ADVISE if last_ended is not None and now < last_ended + pause else Decision.BEGIN


def balance() -> dict[str, int]:
    """Look at every cluster whose balancing is not off. Returns how many were looked at, and how many jobs began."""
    looked, begun = 0, 0
    with acting_as(SYSTEM, via="system"):
        for cluster in Cluster.objects.exclude(balancing=Mode.OFF):
            looked += 1
            try:
                begun += _look(cluster) is Decision.BEGIN
            except Exception:  # a bug that one cluster brings out is no reason to leave the others alone
                log.exception("cluster %s: it could not be looked at", cluster)
    return {"looked": looked, "begun": begun}


def _look(cluster: Cluster) -> Decision:
    now = timezone.now()
    before = Look.objects.filter(cluster=cluster, looked_at__gte=now - WINDOW_GOOD_FOR).first()
    past = {int(pk): row for pk, row in before.window.items()} if before else {}
    found = propose(SYSTEM, cluster, past=past)
    window = found.reading.window() if found.reading else {}
    is_first = found.reading is None or found.reading.estate.past is None
    planned = 0 if is_first else len(found.moves)
    facts = {"looked_at": now, "window": window, "planned": planned, "verdict": found.verdict}
    Look.objects.update_or_create(cluster=cluster, defaults=facts)
    ours = Job.objects.filter(cluster=cluster, operation=OPERATION)
    if ours.unfinished().exists():
        return Decision.NOTHING
    last = ours.filter(params__mode="run").order_by("-finished_at").first()
    verdict = decision(
        cluster.balancing,
        planned,
        is_first=is_first,
        last_ended=last.finished_at if last else None,
        last_failed=last is not None and last.state != State.SUCCEEDED,
        now=now,
    )
    if verdict is Decision.BEGIN and not _begin(cluster):
        return Decision.ADVISE
    return verdict


def _begin(cluster: Cluster) -> bool:
    params = {"mode": "run", "most_moves": MOVES_PER_LOOK}
    try:
        job_submit(actor=SYSTEM, operation=OPERATION, target=cluster, params=params)
    except (NotAdmitted, TargetBusy) as error:
        log.info("cluster %s: not rebalanced now: %s", cluster, error)
        return False
    return True
