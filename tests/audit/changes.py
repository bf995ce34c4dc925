"""Making each change there is, as somebody who may, and looking at what it leaves in the record before it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import DatabaseError
from django.test import Client

from access.models import User
from audit import rows
from audit.models import AuditEvent
from inventory.models import VM, ApprovalRule, Host
from jobs.models import Job
from jobs.operations.registry import operation_named
from tests import factories as make
from tests.access.matrix import bodies
from tests.access.matrix.addresses import address, sides
from tests.access.matrix.asking import Answer, Door, kept, undone
from tests.access.matrix.endpoints import endpoints
from tests.access.matrix.notation import lines, table
from tests.access.matrix.people import Person
from tests.access.matrix.world import Side, World
from tests.tables import RECORD, content, contents, writes

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
#: What a page keeps for whoever looks at it, which is no part of what Slipway manages.
SESSIONS = frozenset({"django_session", "axes_accessattempt", "axes_accesslog", "axes_accessattemptexpiration"})
SIGNER, PASSWORD = "signer", "long-enough-and-odd"

#: Bodies beside those of the matrix.
BODIES: dict[tuple[str, str], bodies.Body] = {
    ("sign-in", "POST:right"): lambda side, _: {"username": SIGNER, "password": PASSWORD},
    ("api:user-detail", "PATCH:why"): lambda side, _: {"is_active": False, "reason": "has left"},
    ("api:job-cancel", "POST:why"): lambda side, _: {"reason": "not needed"},
    ("api:job-approve", "POST:why"): lambda side, _: {"reason": "looked at"},
    ("api:broken-glass-acknowledge", "POST:why"): lambda side, _: {"note": "looked at"},
    ("api:job-list", "POST:glass"): lambda side, first: {
        **bodies.API["api:job-list", "POST:vm.patch"](side, first),
        "break_glass": "it burns",
    },
}


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the table."""

    endpoint: str
    method: str
    kind: str
    person: str
    noun: str
    events: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.endpoint} {self.method} {self.kind} {self.person}"

    @property
    def verb(self) -> str:
        return self.method.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Made:
    """What a request did: its answer, the tables that are not as before, and the events it left."""

    answer: Answer
    body: dict[str, Any]
    changed: frozenset[str]
    events: list[AuditEvent]


def changes() -> list[Change]:
    """The table."""
    found = []
    for _where, line in lines(Path(__file__).with_name("changes.table")):
        words = line.split()
        at = next(place for place, word in enumerate(words) if word.partition(":")[0].partition(",")[0] in CHANGING)
        methods, kind, person, noun, *events = words[at:]
        told = () if events == ["-"] else tuple(events)
        found += [
            Change(name, method, kind, person, noun, told) for name in words[:at] for method in methods.split(",")
        ]
    return found


def possible() -> set[tuple[str, str]]:
    """(address, method) of all that there is, by a method that may change something; see the matrix."""
    return {
        (row.endpoint, row.verb)
        for name in ("pages", "api", "admin")
        for row in table(name)
        if row.verb in CHANGING
        and row.letters - set("ANM")
        and "M" not in row.letters
        and (name != "admin" or ":search_" in row.endpoint)  # the rest of the auditors' site changes nothing
        and row.endpoint != "api:nowhere"
    }


class Maker:
    """Makes changes in a world, as its people."""

    def __init__(self, world: World, people: dict[str, Person], door: Door) -> None:
        self._world, self._door = world, door
        asker = Client()
        asker.force_login(world.ours.user, backend="access.backends.GateBackend")
        own = Person("x", asker.cookies["sessionid"].value, make.token(world.ours.user))
        self.people = people | {"x": own}
        make.user(SIGNER, password=PASSWORD)
        self.names = {"x": world.ours.user.username, "a": SIGNER} | {
            letter: User.objects.get(username=name).username
            for letter, name in {"w": "our-owner", "p": "platform-operator", "u": "auditor", "s": "stranger"}.items()
        }

    def make(
        self, change: Change, *, person: str = "", body: dict[str, Any] | None = None, is_full: bool = False
    ) -> Made:
        """Carry a change out, look, and undo it. Another person or body may stand in; `is_full`: no event can be
        written meanwhile.
        """
        with undone():
            kind = self._prepare(change.kind)
            path = address(endpoints()[change.endpoint], replace(self._world, ours=self._about(change)), kind)
            first, second = sides(self._world, kind)
            sent = self._body(change, second, first) if body is None else body
            who = self.people[person or change.person]
            with _full_disk() if is_full else nullcontext():
                return self._ask(lambda: self._door.ask(who, change.verb, path, sent, keep=kept), sent)

    def read(self, endpoint: str, kind: str, person: str, query: dict[str, Any]) -> Made:
        """Read an address."""
        with undone():
            path = address(endpoints()[endpoint], self._world, kind)
            return self._ask(lambda: self._door.ask(self.people[person], "GET", path, query, keep=kept), query)

    def _ask(self, send: Callable[[], Answer], body: dict[str, Any]) -> Made:
        last = AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        before = contents()
        with writes() as touched:
            answer = send()
        changed = frozenset(name for name in touched - {RECORD} - SESSIONS if content(name) != before.get(name))
        return Made(answer, body, changed, list(AuditEvent.objects.filter(pk__gt=last).order_by("pk")))

    def _prepare(self, kind: str) -> str:
        """Bring about what a kind of the table says beyond the matrix' own. Returns the matrix' kind."""
        if kind == "off":
            VM.objects.filter(pk=self._world.ours.vm.pk).update(power_state="shut_off")
        if kind == "resting":
            Host.objects.filter(pk=self._world.ours.host.pk).update(availability=Host.Availability.MAINTENANCE)
        if kind == "moving":
            running = {
                "state": "running",
                "phase": "warm-up",
                "operation": "vm.migrate",
                "params": {"policy": "gentle"},
            }
            Job.objects.filter(pk=self._world.ours.job.pk).update(**running)
        if kind == "ruled":
            ApprovalRule.objects.create(segment=self._world.ours.segment, operation="vm.patch")
        if kind == "held":
            make.grant(self._world.ours.user, "operator", self._world.ours.segment)
            params = operation_named("snapshot.create").clean({"name": "before"})
            Job.objects.filter(pk=self._world.ours.waiting.pk).update(params=params)
        return "ours" if kind in ("off", "ruled", "held", "empty", "resting", "moving") else kind

    def _about(self, change: Change) -> Side:
        if change.kind == "empty":
            return replace(self._world.ours, host=Host.objects.get(name="ours-spare"))
        return self._world.ours

    @staticmethod
    def _body(change: Change, second: Side, first: Side) -> dict[str, Any]:
        key = (change.endpoint, change.method)
        body = BODIES.get(key) or bodies.API.get(key) or bodies.PAGES.get(key)
        return body(second, first) if body and (change.verb != "PUT" or key in bodies.API) else {}


def _full_disk() -> Any:
    return mock.patch.object(rows, "insert", side_effect=DatabaseError("the disk is full"))


def reading() -> Iterator[tuple[str, str]]:
    """(address, kind) of all that is read by GET without a variant of its own, about nothing or about ours."""
    for name in ("pages", "api", "admin"):
        for row in table(name):
            if row.method == "GET" and row.kind in ("-", "ours") and row.letters & set("VR"):
                yield row.endpoint, row.kind
