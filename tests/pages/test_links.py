"""Whoever follows the links comes to no page that refuses them: what is not theirs to do is not offered."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import resolve, reverse

from inventory.models import SeenChange
from jobs.approvals import ask_for_approval, break_glass
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, browser

_LINK = re.compile(r'(?:href|hx-get)="(/[^"#]*)')
#: Places outside the portal's pages: asked for, and gone no further from.
_OUTSIDE = ("/admin/", "/api/")
_NO_PAGES = ("/static/", reverse("sign-out"))


@pytest.fixture
def onlooker(estate: Estate) -> Client:
    """Sees everything, and may do nothing."""
    return browser(make.user_with("viewer", username="ole"))


@pytest.fixture
def busy(estate: Estate) -> Estate:
    """Something of everything that has a link: work that waits, is over, went ahead alone; requests, findings."""
    owner = make.user_with("owner", estate.ledger)
    waiting = make.job(estate.vm, by=make.user(), operation="snapshot.revert", state=State.AWAITING_APPROVAL)
    ask_for_approval(waiting)
    make.job(make.vm("ledger-db", segment=estate.ledger, host=estate.north), by=owner)
    done = make.job(estate.vm, by=owner, state=State.SUCCEEDED)
    break_glass(owner, done, "a fire")
    member = make.user_with("viewer", estate.ledger)
    estate.team.memberships.create(user=member)
    make.grant(estate.team, "viewer", estate.ledger)
    make.access_request(member, "operator", estate.ledger)
    make.nic(estate.vm, "payroll-net", foreign_segment=estate.payroll)
    outside = {"kind": SeenChange.Kind.STOPPED, "verdict": SeenChange.Verdict.OUTSIDE, "host_name": "north-1"}
    SeenChange.objects.create(vm=estate.vm, seen_at=estate.vm.observed_at, **outside)
    return estate


def followed(client: Client) -> dict[str, int]:
    """Every address that can be reached from the dashboard, each asked once, with its answer."""
    found: dict[str, int] = {}
    waiting = [reverse("dashboard")]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        answer = client.get(path)
        found[path] = answer.status_code
        if not path.startswith(_OUTSIDE) and answer.status_code == 200:
            links = {urlsplit(link).path for link in _LINK.findall(answer.content.decode())}
            waiting += sorted(link for link in links if not link.startswith(_NO_PAGES))
    return found


@pytest.mark.parametrize("person", ["stranger", "viewer", "maintainer", "owner", "operator", "auditor", "onlooker"])
def test_no_page_offers_what_is_refused(person: str, busy: Estate, request: pytest.FixtureRequest) -> None:
    found = followed(request.getfixturevalue(person))
    assert {path: status for path, status in found.items() if status not in (200, 286)} == {}
    assert len(found) > 5


def test_the_walk_gets_around(busy: Estate, owner: Client, operator: Client) -> None:
    done = {resolve(path).url_name for path in followed(owner)}
    assert {"vm-revert", "vm-segment", "vm-changes-acknowledge", "segment-grant", "job-approve", "access-give"} <= done
    assert {"team-member-add", "my-access", "vm-ask", "vm-access"} <= done
    assert {"host-new", "segment-approvals"} <= {resolve(path).url_name for path in followed(operator)} - done


def test_who_only_looks_on_is_refused_everything_else(busy: Estate, onlooker: Client) -> None:
    """To see everything is not to hold anything else on everything."""
    job = busy.vm.jobs.get(state=State.AWAITING_APPROVAL)
    broken = busy.vm.jobs.get(state=State.SUCCEEDED).broken_glass
    refused = {
        "host-new": [],
        "segment-grant": [busy.ledger.pk],
        "segment-approvals": [busy.ledger.pk],
        "team-member-add": [busy.team.pk],
        "broken-glass-acknowledge": [broken.pk],
        "vm-changes-acknowledge": [busy.vm.pk],
        "vm-segment": [busy.vm.pk],
        "job-cancel": [job.pk],
        "job-approve": [job.pk],
        "auditors:index": [],
        "auditors:audit_auditevent_changelist": [],
    }
    for name, arguments in refused.items():
        assert onlooker.get(reverse(name, args=arguments), headers=HTMX).status_code == 403, name
