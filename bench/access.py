"""Access on PostgreSQL with 100,000 VMs and two million permission rows, for people who see a part of them.

The anchor is django-guardian's `get_objects_for_user` over its own tables, with a row for each VM and the same
effective rights; both must find the same VMs. Asked of the database: a page of 50 VMs by name, with ten actions on
each, and the count. All in turn, so that the anchor, which reads whole tables, leaves little of what is asked for in
memory; a page and its checks are also asked alone, as where no anchor runs, and that is held against their goal. Then
what a whole request takes, and that what was opened by a grant is closed to the next request after the grant was taken
away.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.installation import execute, facts, installation
from bench.postgres import Postgres
from bench.report import Goal, median, percentile, report

SIZES = (100, 1_000, 10_000, 100_000)
REQUESTS = 30
#: Those who ask, by number. No two are in one team.
PEOPLE = (7, 80, 165)
LARGE = (
    "access_uservmpermission", "access_teamvmpermission",
    "guardian_userobjectpermission", "guardian_groupobjectpermission",
)  # fmt: skip
PAGE, ACTIONS = 50, 10
GOAL_PAGE_MS, GOAL_STATEMENTS, GOAL_OVER_GUARDIAN = 10.0, 3, 5.0


def main(requests: int = REQUESTS) -> None:
    """Ask everything `requests` times at each size, for each of three people in turn."""
    with installation() as server:
        _prepare()
        rows = []
        for size in SIZES:
            _fill(size)
            rows.append(_measure(server, size, requests))
            print({name: value for name, value in rows[-1].items() if name != "times_ms"}, file=sys.stderr)
        revoked = _revoke()
        engine = facts()
    largest = rows[-1]
    figures = {str(row["vms"]): {k: row[k] for k in row if k != "times_ms"} for row in rows}
    goals = {
        "page_and_500_checks_ms": Goal(GOAL_PAGE_MS, largest["page_and_checks_alone"]["p50_ms"]),
        "page_and_500_checks_statements": Goal(GOAL_STATEMENTS, largest["statements"]),
        "page_over_guardian": Goal(GOAL_OVER_GUARDIAN, largest["page_over_guardian"], at_least=True),
        "list_over_guardian": Goal(GOAL_OVER_GUARDIAN, largest["list_over_guardian"], at_least=True),
        "answers_after_revocation": Goal(0, revoked["answers_after"]),
    }
    report("access", requests, rows, {**figures, "revocation": revoked}, goals, engine)


def _prepare() -> None:
    """What all sizes share: roles, hosts, segments, and the anchor's tables in use."""
    from django.core.management import call_command

    from access.models import TeamVMPermission, UserVMPermission
    from tests import factories as make

    call_command("collectstatic", interactive=False, verbosity=0)
    make.role()
    for _ in range(20):
        make.host()
    for _ in range(100):
        make.segment()
    # guardian's own switch: it then reads its own tables, not those that Slipway has derived from its models.
    UserVMPermission.enabled = TeamVMPermission.enabled = False


def _fill(vms: int) -> None:
    """Both estates, with statistics."""
    from django.db import transaction

    for name in ("access_fill.sql", "access_anchor.sql"):
        with transaction.atomic(), _indexed_afterwards():
            execute(Path(__file__).with_name(name).read_text(), {"vms": vms, "people": list(PEOPLE)})
    execute("VACUUM ANALYZE")


@contextmanager
def _indexed_afterwards() -> Iterator[None]:
    """Without the large tables' indexes inside the block, but for those that keep rows unique: made whole afterwards,
    they take less time.
    """
    found = execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE NOT indisunique AND indrelid = ANY (%s::regclass[])",
        [list(LARGE)],
    )
    for name, _definition in found:
        execute(f"DROP INDEX {name}")
    yield
    for _name, definition in found:
        execute(definition)


def _measure(server: Postgres, size: int, requests: int) -> dict[str, Any]:
    from access.models import User

    people = list(User.objects.filter(pk__in=PEOPLE))
    sees = {person.pk: _same_for_both(person) for person in people}
    asked = {
        "page": lambda person: list(_slipway(person)[:PAGE]),
        "guardian_page": lambda person: list(_guardian(person)[:PAGE]),
        "count": lambda person: _slipway(person).count(),
        "guardian_count": lambda person: _guardian(person).count(),
        "page_and_checks": _page_and_checks,
        "web": _getter("/vms/"),
        "api": _getter("/api/v1/vms/"),
    }
    alone = _times({"page_and_checks": _page_and_checks}, people, requests)["page_and_checks"]
    times = _times(asked, people, requests)
    both = {
        arm: [sum(pair) for pair in zip(times[f"{arm}page"], times[f"{arm}count"], strict=True)]
        for arm in ("", "guardian_")
    }
    return {
        "vms": size,
        "rows": _rows("access_uservmpermission", "access_teamvmpermission", "access_usersegmentpermission",
                      "access_teamsegmentpermission", "access_everythingpermission"),
        "guardian_rows": _rows("guardian_userobjectpermission", "guardian_groupobjectpermission"),
        "seen_share": [round(seen / size, 3) for seen in sees.values()],
        **{name: {"p50_ms": median(of), "p99_ms": percentile(of, 99)} for name, of in times.items()},
        "page_and_checks_alone": {"p50_ms": median(alone), "p99_ms": percentile(alone, 99)},
        "page_and_checks_cpu_ms": _cpu_ms(server, people, requests),
        "statements": max(_statements(person) for person in people),
        "page_over_guardian": _ratio(times["guardian_page"], times["page"]),
        "count_over_guardian": _ratio(times["guardian_count"], times["count"]),
        "list_over_guardian": _ratio(both["guardian_"], both[""]),
        "times_ms": times,
    }  # fmt: skip


def _times(asked: dict[str, Callable[[Any], Any]], people: list[Any], requests: int) -> dict[str, list[float]]:
    """Milliseconds of each question, asked in turn, forwards and backwards."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(-len(people), requests):  # each person once unmeasured: caches warm up
        person = people[number % len(people)]
        for name in asked if number % 2 == 0 else reversed(asked):
            began = time.perf_counter()
            asked[name](person)
            if number >= 0:
                times[name].append(round((time.perf_counter() - began) * 1000, 3))
    return times


def _cpu_ms(server: Postgres, people: list[Any], requests: int) -> float:
    """Processor time of a page with its checks, in this process and the server: says more on a busy machine."""
    began = time.process_time() + server.cpu_seconds()
    for _ in range(requests):
        for person in people:
            _page_and_checks(person)
    cpu = time.process_time() + server.cpu_seconds() - began
    return round(cpu / requests / len(people) * 1000, 2)


def _slipway(person: Any) -> Any:
    from inventory.models import VM

    return VM.objects.visible_to(person).order_by("name", "pk")


def _guardian(person: Any) -> Any:
    """Without rights on everything, about which guardian would ask the gate first."""
    from guardian.shortcuts import get_objects_for_user

    from inventory.models import VM

    found = get_objects_for_user(person, "view", VM.objects.all(), accept_global_perms=False)
    return found.order_by("name", "pk")


def _page_and_checks(person: Any) -> Any:
    """What a list with buttons asks: its VMs, and whether the person may do each of ten things to each of them."""
    from access import gate
    from access.actions import Action

    page, actions = list(_slipway(person)[:PAGE]), list(Action)[:ACTIONS]
    held = gate.actions_on(person, page)
    return [[action in held[vm.pk] for action in actions] for vm in page]


def _same_for_both(person: Any) -> int:
    """How many VMs somebody sees. Raises RuntimeError when guardian or the gate, one by one, answers otherwise."""
    from access import gate
    from access.actions import Action

    seen = list(_slipway(person).values_list("pk", flat=True))
    if seen != list(_guardian(person).values_list("pk", flat=True)):
        raise RuntimeError(f"{person} sees other VMs by guardian than by Slipway")
    page = list(_slipway(person)[:PAGE])
    singly = [[gate.can(person, action, vm) for action in list(Action)[:ACTIONS]] for vm in page]
    if singly != _page_and_checks(person):
        raise RuntimeError(f"{person} may do other things by single checks than by those of a page")
    return len(seen)


def _getter(address: str) -> Callable[[Any], Any]:
    """Asks the portal for a page as somebody, in this process. Raises RuntimeError unless it answers 200."""

    def get(person: Any) -> Any:
        response = _client(person).get(address)
        if response.status_code != 200:
            raise RuntimeError(f"{address} answered {response.status_code}")
        return response

    return get


_clients: dict[int, Any] = {}


def _client(person: Any) -> Any:
    from django.test import Client

    if person.pk not in _clients:
        _clients[person.pk] = Client(headers={"host": "localhost"})
        _clients[person.pk].force_login(person, backend="access.backends.GateBackend")
    return _clients[person.pk]


def _revoke() -> dict[str, int]:
    """Ask for a VM, by the API and the portal, before a grant, with it, and after it was taken away: how often it was
    there. Raises RuntimeError when the grant did not open both.
    """
    from access.gate import SYSTEM
    from access.models import User
    from access.services.grants import grant_revoke
    from inventory.models import VM
    from tests import factories as make

    person = User.objects.get(username="person-1")
    vm = VM.objects.exclude(pk__in=_slipway(person)).exclude(segment=None).first()
    before = _open(person, vm)
    grant = make.grant(person, "viewer", vm.segment)
    during = _open(person, vm)
    grant_revoke(actor=SYSTEM, grant=grant, reason="bench")
    after = _open(person, vm)
    if (before, during) != (0, 2):
        raise RuntimeError(f"the grant opened {during} addresses; {before} were open before")
    return {"answers_before": before, "answers_with": during, "answers_after": after}


def _open(person: Any, vm: Any) -> int:
    """Of the VM's two addresses, those that answer; the others say that there is nothing."""
    statuses = [_client(person).get(address).status_code for address in (f"/api/v1/vms/{vm.pk}/", f"/vms/{vm.pk}/")]
    if set(statuses) - {200, 404}:
        raise RuntimeError(f"answers are {statuses}")
    return statuses.count(200)


def _statements(person: Any) -> int:
    """How many a page with its checks takes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        _page_and_checks(person)
    return len(captured)


def _rows(*tables: str) -> int:
    return sum(execute(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables)  # noqa: S608 - names of this file


def _ratio(slower: list[float], faster: list[float]) -> float:
    return round(statistics.median(slower) / statistics.median(faster), 2)
