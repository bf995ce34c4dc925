"""The list of VMs: scope, filters, order, paging, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.models import VM
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, browser, seen


def names(client: Client, **query: Any) -> list[str]:
    """The VMs on the list, from the top."""
    answer = client.get(reverse("vm-list"), query)
    assert answer.status_code == 200
    return [vm.name for vm in answer.context["object_list"]]


@pytest.fixture
def more(estate: Estate) -> Estate:
    """Some more VMs in Ledger, each with its trouble."""
    facts = {"segment": estate.ledger, "host": estate.south}
    make.vm("ledger-gone", missing_since=timezone.now(), **facts)
    make.vm("ledger-twice", is_split=True, **facts)
    make.nic(make.vm("ledger-stray", **facts), "payroll-net", foreign_segment=estate.payroll)
    make.job(make.vm("ledger-busy", **facts), by=make.user("ben"), state=State.RUNNING)
    make.vm("ledger-off", running=False, memory_mib=4096, **facts)
    make.vm("adrift", host=estate.north)
    return estate


def test_it_shows_what_is_seen_and_no_more(viewer: Client, operator: Client, more: Estate) -> None:
    assert names(viewer) == [
        "ledger-app", "ledger-busy", "ledger-gone", "ledger-off", "ledger-stray", "ledger-twice",
    ]  # fmt: skip
    assert {"adrift", "payroll-secret"} <= set(names(operator))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "APP"}, ["ledger-app"]),
        ({"state": "shut_off"}, ["ledger-off"]),
        ({"finding": "missing"}, ["ledger-gone"]),
        ({"finding": "split"}, ["ledger-twice"]),
        ({"finding": "foreign_nic"}, ["ledger-stray"]),
        ({"finding": "busy"}, ["ledger-busy"]),
        ({"finding": "no_baseline"}, ["ledger-busy", "ledger-off", "ledger-stray", "ledger-twice"]),
        ({"segment": "none"}, []),
        ({"q": "' OR 1=1 --"}, []),
        ({"state": "on fire"}, []),
        ({"segment": "999999"}, []),
    ],
    ids=str,
)
def test_filters(viewer: Client, more: Estate, query: dict[str, str], expected: list[str]) -> None:
    assert names(viewer, **query) == expected


def test_filters_by_segment_host_and_uuid(operator: Client, more: Estate) -> None:
    assert names(operator, segment=more.payroll.pk) == ["payroll-secret"]
    assert names(operator, segment="none") == ["adrift"]
    assert names(operator, host=more.north.pk) == ["adrift", "ledger-app"]
    assert names(operator, q=str(more.vm.uuid)) == ["ledger-app"]
    assert names(operator, q=str(more.vm.uuid)[:13]) == ["ledger-app"]


def test_filter_choices_are_what_is_seen(viewer: Client, maintainer: Client, more: Estate) -> None:
    page = viewer.get(reverse("vm-list")).context["filter"]
    assert [label for _, label in page.fields["segment"].choices] == ["All", "Ledger", "In no segment"]
    assert "host" not in page.fields
    page = maintainer.get(reverse("vm-list")).context["filter"]
    assert [label for _, label in page.fields["host"].choices] == ["All", "north-1", "south-1"]


def test_a_segment_that_is_not_seen_cannot_be_asked_for(viewer: Client, more: Estate) -> None:
    assert names(viewer, segment=more.payroll.pk) == []


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("-name", "ledger-twice"),
        ("memory", "ledger-app"),
        ("-memory", "ledger-off"),
        ("uuid; DROP TABLE", "ledger-app"),
    ],
)
def test_order(viewer: Client, more: Estate, sort: str, first: str) -> None:
    assert names(viewer, sort=sort)[0] == first


def test_a_page_past_the_end_is_the_last_one(viewer: Client, estate: Estate) -> None:
    make.vms(60, segment=estate.ledger, host=estate.north)
    assert len(names(viewer)) == 50
    assert len(names(viewer, page=2)) == len(names(viewer, page=99)) == 11
    assert len(names(viewer, page="x")) == 50


def test_htmx_gets_the_results_alone(viewer: Client, estate: Estate) -> None:
    whole, part = viewer.get(reverse("vm-list")), viewer.get(reverse("vm-list"), headers=HTMX)
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    assert b"ledger-app" in part.content


def test_a_name_is_shown_literally(viewer: Client, estate: Estate) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(name="<script>alert(1)</script>'\"; rm -rf /")
    answer = viewer.get(reverse("vm-list"))
    assert "<script>alert(1)" not in answer.content.decode()
    assert "<script>alert(1)</script>'\"; rm -rf /" in seen(answer).text


@pytest.mark.parametrize("page", ["vm-list", "dashboard"])
def test_the_number_of_sql_statements_does_not_grow(
    viewer: Client, estate: Estate, statements: Callable[..., int], page: str
) -> None:
    make.vms(9, segment=estate.ledger, host=estate.north)
    few = statements(viewer, reverse(page))
    many_vms = make.vms(190, segment=estate.ledger, host=estate.north)
    ben = make.user("ben")
    for vm in many_vms[:30]:
        make.job(vm, by=ben, state=State.RUNNING)
        make.nic(vm, "payroll-net", foreign_segment=estate.payroll)
    assert statements(viewer, reverse(page)) == few
    assert few <= 19


def test_it_says_how_to_get_access_when_there_is_nothing(estate: Estate) -> None:
    answer = seen(browser(make.user("new")).get(reverse("vm-list")))
    assert "You see no VM yet." in answer.text
    assert reverse("my-access") in answer.links
