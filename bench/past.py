"""Who could do what on a VM at a moment of the past, with 1,000,000 events in the record; 5 % of them changed access.

On the embedded database, or on the one that SLIPWAY_DATABASE_URL names (it must be empty).
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from bench.report import Goal, median, report

EVENTS = 1_000_000
ASKED = 20
#: Of each hundred events: what changed access, the rest being work.
PER_HUNDRED = {"grants": 2, "memberships": 2, "moves": 1}
PEOPLE, TEAMS, SEGMENTS, VMS = 500, 60, 50, 2_000


def main(events: int = EVENTS) -> None:
    """Fill the record, then ask about its first second, its middle and its last day."""
    directory = tempfile.mkdtemp(prefix="slipway-bench-")
    os.environ.update(SLIPWAY_DATA_DIR=directory, SLIPWAY_BROKER_URL="memory://", SLIPWAY_HOST_SCHEMES="sim")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    try:
        import django

        django.setup()
        _measure(events)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(events: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    _fill(events)
    connection.close()  # a connection of its own for the questions, as in a request
    raw = _ask()
    figures = {name: {"median": median(times), "worst": round(max(times), 4)} for name, times in raw.items()}
    goals = {name: Goal(1.0, facts["median"]) for name, facts in figures.items()}
    report("past", ASKED, raw, figures, goals, {"database": connection.vendor, "events": events})


def _fill(events: int) -> None:
    from django.db import connection

    from audit.models import AuditEvent
    from tests import factories as make

    world = _World(random.Random(7))  # noqa: S311 - chance, not secrets
    make.user_with("auditor", username="auditor")
    _forget(connection)
    made: list[Any] = []
    for event in world.events(events, world.now - timedelta(days=365)):
        made.append(event)
        if len(made) == 5_000:
            AuditEvent.objects.bulk_create(made)
            made = []
    AuditEvent.objects.bulk_create(made)


def _ask() -> dict[str, list[float]]:
    """Seconds of each question: everybody's rights on a VM, one person's with the reasons, the panel's page."""
    from django.db.models import Max, Min
    from django.test import Client

    from access.actions import Action
    from access.asof import Moment
    from access.models import User
    from audit.models import AuditEvent
    from inventory.models import VM

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="auditor"), backend="access.backends.GateBackend")
    vm, person = VM.objects.order_by("pk")[3], User.objects.order_by("pk")[5]
    times = AuditEvent.objects.exclude(object_type__in=["user", ""]).aggregate(begin=Min("at"), end=Max("at"))
    moments = {
        "first_second": times["begin"] + timedelta(seconds=1),
        "half_a_year": times["begin"] + timedelta(days=182),
        "yesterday": times["end"] - timedelta(days=1),
    }
    raw: dict[str, list[float]] = {}
    for name, at in moments.items():

        def everybody(at: datetime = at) -> object:
            view = Moment(at).of([vm])
            return [view.held(user, vm) for user in view.people(vm)]

        def one(at: datetime = at) -> object:
            return Moment(at).of([vm]).why(person, Action.PATCH, vm)

        def page(at: datetime = at) -> object:
            answer = client.get("/admin/access/matrix/", {"at": at.isoformat(), "name": vm.name})
            if answer.status_code != 200 or b"access-matrix" not in answer.content:
                raise RuntimeError(f"the page answered {answer.status_code}")
            return answer

        for question in (everybody, one, page):
            raw[f"{name}_{question.__name__}_s"] = _timed(question)
    return raw


def _forget(connection: Any) -> None:
    """Empty the record: a year's events come in their own order."""
    from audit import triggers

    with triggers.lifted(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_auditevent")


def _timed(question: Callable[[], object]) -> list[float]:
    question()
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        question()
        times.append(time.perf_counter() - began)
    return times


class _World:
    """An estate, and what a year's record tells of it."""

    def __init__(self, chance: random.Random) -> None:
        from django.utils import timezone

        from tests import factories as make

        self.chance = chance
        self.now = timezone.now()
        self.people = [make.user() for _ in range(PEOPLE)]
        self.teams = [make.team(members=chance.sample(self.people, 12)) for _ in range(TEAMS)]
        self.segments = [make.segment() for _ in range(SEGMENTS)]
        self.vms = [vm for segment in self.segments for vm in make.vms(VMS // SEGMENTS, segment=segment)]
        type(self.vms[0]).objects.update(created_at=self.now - timedelta(days=400))
        for team in self.teams:
            make.grant(team, "maintainer", chance.choice(self.segments))

    def events(self, number: int, begin: datetime) -> Iterator[Any]:
        """So many events over a year, oldest first."""
        from audit.models import AuditEvent

        kinds = [kind for kind, share in PER_HUNDRED.items() for _ in range(share)]
        for count in range(number):
            place = count % 100
            facts = getattr(self, f"_{kinds[place]}")(count) if place < len(kinds) else self._work(count)
            at = begin + timedelta(days=365) * (count / number)
            who = {"actor_kind": "user", "actor_id": str(count % PEOPLE), "actor_name": f"user-{count % PEOPLE}"}
            yield AuditEvent(at=at, outcome="ok", via="api", request_id=f"request-{count}", **who, **facts)

    def _grants(self, count: int) -> dict[str, Any]:
        """One in two is given, the other taken away."""
        from access.grant_facts import GrantThen

        user, segment = self.chance.choice(self.people), self.chance.choice(self.segments)
        words = {"holder": f"user {user}", "role": "operator", "scope": f"segment {segment}", "author": "ada",
                 "reason": "needed for the work of a week"}  # fmt: skip
        actions = frozenset({"view", "power", "console", "snapshot"})
        grant = GrantThen(0, ("user", user.pk), ("segment", segment.pk), 2, actions, "allow", None, words)
        given = (count // 100) % 2 == 0
        facts = {"after": grant.document()} if given else {"before": grant.document()}
        return {
            "action": "grant.created" if given else "grant.revoked",
            "object_type": "grant",
            "object_id": str(10_000_000 + count // 200),
            "object_name": f"Allow Operator to {user} on segment {segment}",
            **facts,
        }

    def _memberships(self, count: int) -> dict[str, Any]:
        team, user = self.teams[count // 200 % TEAMS], self.people[count // 200 % PEOPLE]
        joined = (count // 100) % 2 == 0
        document = {"user": user.username, "user_id": user.pk, "is_lead": False}
        facts = {"after": document} if joined else {"before": document}
        action = "membership.added" if joined else "membership.removed"
        return {"action": action, "object_type": "team", "object_id": str(team.pk), "object_name": team.name, **facts}

    def _moves(self, count: int) -> dict[str, Any]:
        vm, to = self.chance.choice(self.vms), self.chance.choice(self.segments)
        place = {"segment": to.name, "segment_id": to.pk}
        return {
            "action": "vm.segment_assigned",
            "object_type": "vm",
            "object_id": str(vm.pk),
            "object_uuid": str(vm.uuid),
            "object_name": vm.name,
            "segment_name": to.name,
            "before": place,
            "after": place,
        }

    def _work(self, count: int) -> dict[str, Any]:
        vm = self.vms[count % VMS]
        return {
            "action": ("job.submitted", "job.started", "effect.intent", "effect.outcome", "job.succeeded")[count % 5],
            "object_type": "job",
            "object_id": f"job-{count // 5}",
            "object_uuid": str(vm.uuid),
            "object_name": vm.name,
            "job_id": f"job-{count // 5}",
            "detail": {"call": "createXML", "number": count},
        }
