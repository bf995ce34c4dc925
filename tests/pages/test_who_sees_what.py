"""Every page, for every kind of person, with expectations written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.gate import SYSTEM
from access.models import Grant
from audit.events import EventAction
from audit.holds import Cover, hold_place
from audit.models import AuditEvent
from jobs.models import BrokenGlass
from jobs.states import State
from portal.pages.urls import urlpatterns
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen

PEOPLE = ("stranger", "viewer", "maintainer", "owner", "operator", "auditor")

#: What a GET answers to each of PEOPLE. What it is about is in Ledger, which all but the stranger see.
EXPECTED = {
    "dashboard": (200, 200, 200, 200, 200, 200),
    "working-now": (200, 200, 200, 200, 200, 200),
    "vm-list": (200, 200, 200, 200, 200, 200),
    "vm-detail": (404, 200, 200, 200, 200, 200),
    "vm-busy": (404, 200, 200, 200, 200, 200),
    "vm-snapshot": (404, 403, 200, 200, 200, 403),
    "vm-revert": (404, 403, 200, 200, 200, 403),
    "vm-snapshot-delete": (404, 403, 200, 200, 200, 403),
    "vm-console": (404, 403, 200, 200, 200, 403),
    "vm-patch": (404, 403, 200, 200, 200, 403),
    "vm-migrate": (404, 403, 200, 200, 200, 403),
    "vm-power": (404, 403, 200, 200, 200, 403),
    "vm-segment": (404, 403, 403, 200, 200, 403),
    "vm-changes-acknowledge": (404, 403, 403, 200, 200, 200),
    "vm-definition": (404, 200, 200, 200, 200, 200),
    "vm-definition-approve": (404, 403, 403, 200, 200, 403),
    "vm-definition-restore": (404, 403, 200, 200, 200, 403),
    "vm-snapshot-expiry": (404, 403, 200, 200, 200, 403),
    "vm-installed": (404, 403, 200, 200, 200, 403),
    "vm-migration": (404, 403, 200, 200, 200, 403),
    "vm-access": (404, 200, 200, 200, 200, 200),
    "job-list": (200, 200, 200, 200, 200, 200),
    "job-detail": (404, 200, 200, 200, 200, 200),
    "job-live": (404, 200, 200, 200, 200, 200),
    "job-control": (404, 403, 200, 200, 200, 403),
    "job-cancel": (404, 403, 200, 200, 200, 403),
    "job-approve": (404, 403, 403, 200, 200, 403),
    "job-reject": (404, 403, 403, 200, 200, 403),
    "vm-ask": (404, 200, 200, 200, 200, 200),
    "segment-ask": (404, 200, 200, 200, 200, 200),
    "access-give": (404, 404, 404, 200, 200, 403),
    "access-refuse": (404, 404, 404, 200, 200, 403),
    "approvals": (200, 200, 200, 200, 200, 200),
    "broken-glass-acknowledge": (403, 403, 403, 403, 403, 200),
    "host-list": (200, 200, 200, 200, 200, 200),
    "host-new": (403, 403, 403, 403, 200, 403),
    "host-detail": (404, 404, 200, 404, 200, 200),
    "host-drain": (404, 404, 403, 404, 200, 403),
    "host-activate": (404, 404, 403, 404, 200, 403),
    "host-prove": (404, 404, 403, 404, 200, 403),
    "host-reserve": (404, 404, 403, 404, 200, 403),
    "cluster-detail": (404, 404, 200, 404, 200, 200),
    "cluster-rebalance": (404, 404, 403, 404, 200, 403),
    "cluster-balancing": (404, 404, 403, 404, 200, 403),
    "placement-rule-new": (404, 404, 403, 404, 200, 403),
    "placement-rule-lift": (404, 404, 403, 404, 200, 403),
    "host-keep": (405, 405, 405, 405, 405, 405),
    "host-read": (405, 405, 405, 405, 405, 405),
    "segment-list": (200, 200, 200, 200, 200, 200),
    "segment-detail": (404, 200, 200, 200, 200, 200),
    "segment-grant": (404, 403, 403, 200, 200, 403),
    "segment-revoke": (404, 403, 403, 200, 200, 403),
    "segment-approvals": (404, 403, 403, 403, 200, 403),
    "segment-migration": (404, 403, 200, 200, 200, 403),
    "segment-baseline": (404, 403, 200, 200, 200, 403),
    "segment-alarms": (404, 403, 403, 403, 200, 403),
    "team-list": (200, 200, 200, 200, 200, 200),
    "team-detail": (404, 404, 404, 200, 200, 200),
    "team-member-add": (404, 404, 404, 200, 200, 403),
    "team-member-remove": (404, 404, 404, 200, 200, 403),
    "holds": (403, 403, 403, 403, 403, 200),
    "hold-place": (403, 403, 403, 403, 403, 200),
    "hold-lift": (403, 403, 403, 403, 403, 200),
    "my-access": (200, 200, 200, 200, 200, 200),
}
#: Without an account; the rest of the addresses leads to the sign-in page.
PUBLIC = {"sign-in": 200, "sign-out": 405, "healthz": 200, "readyz": 200}


@pytest.fixture
def addresses(estate: Estate) -> dict[str, str]:
    """Each page about Ledger, its VM, a job on it, a host, or the team."""
    member = make.user("milo")
    membership = estate.team.memberships.create(user=member)
    grant = make.grant(estate.team, "viewer", estate.ledger)
    job = make.job(estate.vm, by=member, state=State.QUEUED)
    make.changed_definition(estate.vm).save()
    asked = make.access_request(member, "operator", estate.ledger)
    rule = make.placement_rule(
        estate.cluster, kind="only_on", segment=estate.ledger, hosts=[estate.north, estate.south]
    )
    arguments: dict[str, list[Any]] = {
        "placement-rule-new": [estate.cluster.pk],
        "placement-rule-lift": [estate.cluster.pk, rule.pk],
        "vm-revert": [estate.vm.pk, estate.later.pk],
        "vm-snapshot-delete": [estate.vm.pk, estate.later.pk],
        "vm-snapshot-expiry": [estate.vm.pk, estate.later.pk],
        "broken-glass-acknowledge": [BrokenGlass.objects.create(job=job, reason="a fire").pk],
        "hold-lift": [hold_place(name="Case 7", reason="a court", cover=Cover(), actor=SYSTEM).id],
        "access-give": [asked.pk],
        "access-refuse": [asked.pk],
        "host-keep": [estate.north.pk, 1],
        "vm-power": [estate.vm.pk, "reboot"],
        "job-control": [job.pk, "force-completion"],
        "segment-revoke": [estate.ledger.pk, grant.pk],
        "team-member-remove": [estate.team.pk, membership.pk],
    }
    ids = {
        "vm": estate.vm.pk,
        "job": job.pk,
        "host": estate.north.pk,
        "cluster": estate.cluster.pk,
        "segment": estate.ledger.pk,
        "team": estate.team.pk,
    }
    found = {}
    for pattern in urlpatterns:
        name = str(pattern.name)
        needs_id = "<" in str(pattern.pattern)
        found[name] = reverse(name, args=arguments.get(name) or ([ids[name.split("-")[0]]] if needs_id else []))
    return found


def test_every_address_is_in_the_table() -> None:
    assert {str(pattern.name) for pattern in urlpatterns} == set(EXPECTED) | set(PUBLIC)


@pytest.mark.parametrize("person", PEOPLE)
def test_each_page_answers_as_the_table_says(
    person: str, addresses: dict[str, str], request: pytest.FixtureRequest
) -> None:
    client: Client = request.getfixturevalue(person)
    place = PEOPLE.index(person)
    answers = {name: client.get(addresses[name]).status_code for name in EXPECTED}
    assert answers == {name: expected[place] for name, expected in EXPECTED.items()}


def test_without_an_account_everything_else_leads_to_the_door(addresses: dict[str, str]) -> None:
    nobody = browser()
    for name, address in addresses.items():
        answer = nobody.get(address)
        if name in PUBLIC:
            assert answer.status_code == PUBLIC[name], name
        else:
            assert (answer.status_code, answer["Location"].split("?")[0]) == (302, reverse("sign-in")), name


@pytest.mark.parametrize("person", ["viewer", "maintainer", "owner"])
def test_no_page_names_what_is_not_seen(
    person: str, addresses: dict[str, str], estate: Estate, request: pytest.FixtureRequest
) -> None:
    make.nic(estate.vm, "payroll-net", foreign_segment=estate.payroll)
    make.job(estate.foreign, by=make.user("pia"), operation="vm.reboot")
    make.placement_rule(estate.cluster, estate.foreign, make.vm("payroll-secret-2", host=estate.south), name="pair")
    make.placement_rule(estate.cluster, kind="only_on", segment=estate.payroll, hosts=[estate.south], name="south only")
    client: Client = request.getfixturevalue(person)
    for name in EXPECTED:
        answer = client.get(addresses[name])
        assert "payroll-secret" not in answer.content.decode(), name
        assert "Payroll" not in seen(answer).text, name


def test_what_is_hidden_and_what_is_not_there_are_answered_alike_and_the_attempt_is_recorded(
    viewer: Client, estate: Estate
) -> None:
    hidden = viewer.get(reverse("vm-detail", args=[estate.foreign.pk]))
    absent = viewer.get(reverse("vm-detail", args=[987_654]))
    assert seen(hidden).text == seen(absent).text
    assert (hidden.status_code, absent.status_code) == (404, 404)
    refusal = AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED)
    assert (refusal.actor_name, refusal.object_name, refusal.via) == ("vera", "payroll-secret", "web")


@pytest.mark.parametrize("name", ["vm-revert", "segment-revoke", "team-member-remove", "vm-access"])
def test_an_attempt_on_what_is_hidden_beneath_what_is_seen_is_recorded(
    owner: Client, estate: Estate, name: str
) -> None:
    foreign = make.team("Payroll", members=[make.user("petra")])
    petra = foreign.memberships.get()
    seen_one, hidden = {
        "vm-revert": (estate.vm, make.snapshot(estate.foreign)),
        "segment-revoke": (estate.ledger, make.grant(foreign, "viewer", estate.payroll)),
        "team-member-remove": (estate.team, petra),
        "vm-access": (estate.vm, petra.user),
    }[name]

    def ask(key: int) -> Any:
        if name == "vm-access":
            return owner.get(reverse(name, args=[seen_one.pk]), {"user": key, "action": "view"})
        return owner.get(reverse(name, args=[seen_one.pk, key]))

    there, absent = ask(hidden.pk), ask(987_654)
    assert (there.status_code, absent.status_code) == (404, 404)
    assert seen(there).text == seen(absent).text
    refusal = AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED)
    assert (refusal.actor_name, refusal.via) == ("olaf", "web")


def test_a_right_that_is_not_held_is_named_and_the_refusal_recorded(viewer: Client, estate: Estate) -> None:
    answer = viewer.get(reverse("vm-patch", args=[estate.vm.pk]))
    assert "You do not hold the right “Patch” on ledger-app." in seen(answer).text
    assert AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED).detail["action"] == "patch"


def test_a_grant_that_is_revoked_takes_the_page_away(maintainer: Client, estate: Estate) -> None:
    address = reverse("vm-detail", args=[estate.vm.pk])
    assert maintainer.get(address).status_code == 200
    Grant.objects.filter(segment=estate.ledger).delete()
    assert maintainer.get(address).status_code == 404


@pytest.mark.parametrize("person", ["viewer", "operator"])
def test_no_page_may_be_kept_in_a_cache(person: str, addresses: dict[str, str], request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(person)
    for name in ("dashboard", "vm-list", "vm-detail", "job-detail", "my-access"):
        assert "no-store" in client.get(addresses[name])["Cache-Control"], name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vm-snapshot", "vm"),
        ("vm-patch", "vm"),
        ("segment-grant", "ledger"),
        ("team-member-add", "team"),
        ("host-new", ""),
    ],
)
def test_a_form_without_its_token_is_refused(name: str, arguments: str, estate: Estate) -> None:
    user = make.user_with("administrator", username="root")
    client = browser(user, enforce_csrf_checks=True)
    address = reverse(name, args=[getattr(estate, arguments).pk] if arguments else [])
    answer = client.post(address, {})
    assert answer.status_code == 403
    assert "out of date" in seen(answer).text
    assert not estate.vm.jobs.exists()
