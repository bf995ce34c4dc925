"""An estate of two segments, and people in front of a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from access.models import Team, User
from inventory.models import VM, Cluster, Host, Segment, Snapshot
from tests import factories as make

HTMX = {"HX-Request": "true"}


@dataclass
class Estate:
    """Ledger, which the people of these tests work in, and Payroll, of which most of them know nothing."""

    cluster: Cluster
    north: Host
    south: Host
    ledger: Segment
    payroll: Segment
    vm: VM
    foreign: VM
    baseline: Snapshot
    later: Snapshot
    team: Team


@pytest.fixture
def estate(db: None) -> Estate:
    cluster = make.cluster("baltic", shared_storage=True)
    north = make.host("north-1", cluster=cluster)
    south = make.host("south-1", cluster=cluster, memory_free_mib=50_000)
    ledger, payroll = make.segment("Ledger", networks=["ledger-net"]), make.segment("Payroll", networks=["payroll-net"])
    vm = make.vm("ledger-app", segment=ledger, host=north, agent_channel=True)
    return Estate(
        cluster=cluster,
        north=north,
        south=south,
        ledger=ledger,
        payroll=payroll,
        vm=vm,
        foreign=make.vm("payroll-secret", segment=payroll, host=south),
        baseline=make.snapshot(vm, "golden", baseline=True),
        later=make.snapshot(vm, "before-closing", parent_name="golden"),
        team=make.team("Accounting"),
    )


def browser(user: User | None = None, **options: Any) -> Client:
    """A browser of somebody who is signed in, or of nobody."""
    client = Client(**options)
    if user is not None:
        client.force_login(user, backend="access.backends.GateBackend")
    return client


@pytest.fixture
def viewer(estate: Estate) -> Client:
    """Sees Ledger, touches nothing, and sees no host."""
    return browser(make.user_with("viewer", estate.ledger, username="vera"))


@pytest.fixture
def maintainer(estate: Estate) -> Client:
    """Maintains Ledger and places VMs in the cluster."""
    user = make.user_with("maintainer", estate.ledger, username="mara")
    make.grant(user, "placement", estate.cluster)
    return browser(user)


@pytest.fixture
def owner(estate: Estate) -> Client:
    """Owns Ledger and leads Accounting."""
    user = make.user_with("owner", estate.ledger, username="olaf")
    estate.team.memberships.create(user=user, is_lead=True)
    return browser(user)


@pytest.fixture
def operator(estate: Estate) -> Client:
    """Operates the platform."""
    return browser(make.user_with("platform-operator", username="otto"))


@pytest.fixture
def auditor(estate: Estate) -> Client:
    """Reads everything, the record included."""
    return browser(make.user_with("auditor", username="ada"))


@pytest.fixture
def stranger(estate: Estate) -> Client:
    """Has an account, and holds nothing."""
    return browser(make.user("stan"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.disabled: list[str] = []
        self._in_disabled = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag == "button":
            self._in_disabled = "disabled" in given

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._in_disabled = False

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if not text:
            return
        self.words.append(text)
        if self._in_disabled:
            self.disabled.append(text)


@dataclass
class Seen:
    """What a person sees of an answer."""

    status: int
    text: str
    links: list[str]
    disabled: list[str]


def seen(answer: Any) -> Seen:
    """Read an answer as a person does: words, links, buttons that are off."""
    reader = _Reader()
    reader.feed(answer.content.decode())
    return Seen(answer.status_code, " ".join(reader.words), reader.links, reader.disabled)


@pytest.fixture
def statements(django_assert_max_num_queries: Any) -> Callable[..., int]:
    """Counts the SQL statements of a request."""

    def count(client: Client, path: str) -> int:
        with django_assert_max_num_queries(1000) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    return count
