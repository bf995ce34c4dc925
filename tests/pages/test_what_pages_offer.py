"""What a page shows and offers to each: as much as they see and hold, and nothing that the next page would refuse."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.actions import Action
from access.models import Effect
from audit import health
from inventory.models import Definition
from jobs.models import BrokenGlass
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import Estate, browser


def context(client: Client, name: str, *ids: int, **query: Any) -> Any:
    answer = client.get(reverse(name, args=ids), query)
    assert answer.status_code == 200
    return answer.context


def sentences(client: Client) -> str:
    return " ".join(finding.text for finding in context(client, "dashboard")["findings"])


@pytest.fixture
def onlooker(estate: Estate) -> Client:
    """Sees everything, and may do nothing."""
    return browser(make.user_with("viewer", username="olga"))


def test_what_endangers_the_record_is_said_to_who_reads_it(
    auditor: Client, onlooker: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "sealing_lag", lambda: 999.0)
    assert "has not been sealed for 999 s" in sentences(auditor)
    assert "sealed" not in sentences(onlooker)


def test_what_waits_for_approval_is_counted_for_who_may_approve(
    owner: Client, viewer: Client, stranger: Client, estate: Estate
) -> None:
    for vm in (estate.vm, estate.foreign):
        make.job(vm, by=make.user(), state=State.AWAITING_APPROVAL)
    assert "1 job waits for your approval." in sentences(owner)
    assert "your approval" not in sentences(viewer) + sentences(stranger)


def test_work_without_approval_is_said_to_auditors(auditor: Client, viewer: Client, estate: Estate) -> None:
    BrokenGlass.objects.create(job=make.job(estate.foreign, by=make.user()), reason="a fire")
    assert "without the approval" in sentences(auditor)
    assert "without the approval" not in sentences(viewer)


def test_hosts_are_counted_as_far_as_they_are_seen(operator: Client, viewer: Client, estate: Estate) -> None:
    assert context(operator, "dashboard")["host_count"] == 2
    assert context(viewer, "dashboard")["host_count"] == 0


def test_the_vms_of_a_host_are_counted_as_far_as_they_are_seen(
    operator: Client, maintainer: Client, estate: Estate
) -> None:
    make.vm(segment=estate.payroll, host=estate.north)
    assert context(operator, "host-list")["vm_counts"] == {estate.north.pk: 2, estate.south.pk: 1}
    assert context(maintainer, "host-list")["vm_counts"] == {estate.north.pk: 1}


def test_a_host_is_offered_to_be_worked_on_to_who_operates_it(
    operator: Client, maintainer: Client, estate: Estate
) -> None:
    assert context(operator, "host-detail", estate.north.pk)["may_operate"]
    assert not context(maintainer, "host-detail", estate.north.pk)["may_operate"]


def test_the_grants_on_a_segment_are_those_that_are_seen(auditor: Client, estate: Estate) -> None:
    make.grant(make.team("Books"), "viewer", estate.ledger)
    reader = make.user_with("auditor", estate.ledger, username="rhea")  # of this segment's record, not of everything
    assert context(auditor, "segment-detail", estate.ledger.pk)["grants"].count() == 2
    assert [grant.user for grant in context(browser(reader), "segment-detail", estate.ledger.pk)["grants"]] == [reader]


def test_the_grants_of_a_team_are_those_that_are_seen(owner: Client, onlooker: Client, estate: Estate) -> None:
    grant = make.grant(estate.team, "viewer", estate.payroll)
    assert list(context(owner, "team-detail", estate.team.pk)["grants"]) == [grant]
    assert list(context(onlooker, "team-detail", estate.team.pk)["grants"]) == []


def test_who_leaves_a_team_by_their_own_hand_is_led_to_what_they_still_see(owner: Client, estate: Estate) -> None:
    estate.team.memberships.create(user=make.user("anna"))
    for username, leads_to in (
        ("anna", reverse("team-detail", args=[estate.team.pk])),
        ("olaf", reverse("team-list")),
    ):
        membership = estate.team.memberships.get(user__username=username)
        answer = owner.post(reverse("team-member-remove", args=[estate.team.pk, membership.pk]), {"confirmed": "yes"})
        assert (answer.status_code, answer["Location"]) == (302, leads_to)


def test_of_access_to_a_vm_only_ones_own_is_shown_without_a_right_to_more(
    viewer: Client, onlooker: Client, owner: Client, estate: Estate
) -> None:
    page = context(viewer, "vm-access", estate.vm.pk)
    assert [(person.username, held) for person, held in page["people"]] == [("vera", [Action.VIEW])]
    assert not context(onlooker, "vm-access", estate.vm.pk)["sees_others"]
    page = context(owner, "vm-access", estate.vm.pk)
    assert page["sees_others"]
    assert {"vera", "olaf"} <= {person.username for person, _held in page["people"]}


def test_reasons_are_given_about_oneself_and_refused_about_a_team_mate(estate: Estate) -> None:
    ask = {"action": "view"}
    asker, mate = make.user_with("viewer", estate.ledger), make.user_with("viewer", estate.ledger)
    make.team(members=[asker, mate])
    client = browser(asker)
    assert context(client, "vm-access", estate.vm.pk, **ask)["answer"].allowed
    assert client.get(reverse("vm-access", args=[estate.vm.pk]), ask | {"user": mate.pk}).status_code == 403


def test_a_definition_is_offered_for_what_may_be_done_about_it(
    viewer: Client, maintainer: Client, owner: Client, estate: Estate
) -> None:
    make.changed_definition(estate.vm).save()
    offered = {
        client: [context(client, "vm-definition", estate.vm.pk)[name] for name in ("may_approve", "may_restore")]
        for client in (viewer, maintainer, owner)
    }
    assert list(offered.values()) == [[False, False], [False, True], [True, True]]


def test_of_a_vm_without_a_definition_none_is_approved(owner: Client, estate: Estate) -> None:
    assert not Definition.objects.filter(vm=estate.vm).exists()
    assert owner.get(reverse("vm-definition-approve", args=[estate.vm.pk])).status_code == 404


def test_what_an_auditor_is_denied_is_not_acknowledged_either(auditor: Client, estate: Estate) -> None:
    half = make.user_with("auditor", username="half")
    make.grant(half, "viewer", estate.ledger, effect=Effect.DENY)
    address = reverse("vm-changes-acknowledge", args=[estate.vm.pk])
    assert auditor.get(address).status_code == 200
    assert browser(half).get(address).status_code == 404


def test_holds_are_offered_to_who_also_takes_the_record_out(auditor: Client) -> None:
    reader = browser(make.user_with(make.role_of("view", "read_audit"), username="rita"))
    assert context(auditor, "holds")["may_hold"]
    assert not context(reader, "holds")["may_hold"]
