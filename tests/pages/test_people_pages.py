"""Segments with who has access, teams with who is in them, and what oneself holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.models import Effect, Grant, User
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen


def test_a_segment_shows_its_networks_numbers_and_vms(viewer: Client, estate: Estate) -> None:
    make.vm("ledger-off", segment=estate.ledger, host=estate.south, running=False)
    text = seen(viewer.get(reverse("segment-detail", args=[estate.ledger.pk]))).text
    for words in ("2 VMs", "1 running", "1 with a baseline", "ledger-net", "ledger-app", "ledger-off"):
        assert words in text, words
    assert "Who has access" not in text


def test_a_vm_that_is_denied_is_not_counted(estate: Estate) -> None:
    dan = make.user_with("viewer", estate.ledger, username="dan")
    make.grant(dan, "viewer", estate.vm, effect=Effect.DENY)
    text = seen(browser(dan).get(reverse("segment-detail", args=[estate.ledger.pk]))).text
    assert "0 VMs" in text
    assert "ledger-app" not in text


def test_access_is_given_with_a_reason_and_taken_away(owner: Client, estate: Estate) -> None:
    form = reverse("segment-grant", args=[estate.ledger.pk])
    offered = owner.get(form).context["form"].fields
    assert [str(team) for team in offered["team"].queryset] == ["Accounting"]
    # Only roles of which the giver holds every action: not those that operate hosts or read the record.
    assert {role.slug for role in offered["role"].queryset} == {"viewer", "operator", "maintainer", "owner"}
    fields = {"team": estate.team.pk, "role": make.role("operator").pk, "reason": "closing"}
    assert owner.post(form, fields | {"reason": " "}).status_code == 400
    assert owner.post(form, fields | {"team": ""}).status_code == 400
    assert owner.post(form, fields | {"expires_at": "2020-01-01T00:00"}).status_code == 400
    assert owner.post(form, fields).status_code == 302
    grant = Grant.objects.get(team=estate.team)
    assert (grant.author and grant.author.username, grant.reason) == ("olaf", "closing")
    page = seen(owner.get(reverse("segment-detail", args=[estate.ledger.pk])))
    assert "Accounting Operator closing, given by olaf" in page.text
    revoke = reverse("segment-revoke", args=[estate.ledger.pk, grant.pk])
    assert revoke in page.links
    assert owner.post(revoke, {"reason": "over"}).status_code == 302
    assert not Grant.objects.filter(team=estate.team).exists()


def test_a_role_beyond_ones_own_is_no_choice(owner: Client, estate: Estate) -> None:
    fields = {"team": estate.team.pk, "role": make.role("administrator").pk, "reason": "please"}
    assert owner.post(reverse("segment-grant", args=[estate.ledger.pk]), fields).status_code == 400
    assert not Grant.objects.filter(team=estate.team).exists()


def test_a_grant_of_another_segment_is_not_there(owner: Client, estate: Estate) -> None:
    grant = make.grant(estate.team, "viewer", estate.payroll)
    address = reverse("segment-revoke", args=[estate.ledger.pk, grant.pk])
    assert owner.post(address).status_code == 404
    assert Grant.objects.filter(pk=grant.pk).exists()


def test_a_lead_adds_and_removes_members(owner: Client, estate: Estate) -> None:
    make.user("nina", full_name="Nina Lund")
    add = reverse("team-member-add", args=[estate.team.pk])
    assert owner.post(add, {"username": "nin"}).status_code == 400
    assert owner.post(add, {"username": "nina"}).status_code == 302
    again = owner.post(add, {"username": "nina"})
    assert (again.status_code, "is in Accounting already" in seen(again).text) == (400, True)
    membership = estate.team.memberships.get(user__username="nina")
    page = seen(owner.get(reverse("team-detail", args=[estate.team.pk])))
    remove = reverse("team-member-remove", args=[estate.team.pk, membership.pk])
    assert "Nina Lund" in page.text
    assert remove in page.links
    assert owner.post(remove)["Location"] == reverse("team-detail", args=[estate.team.pk])
    assert not estate.team.memberships.filter(user__username="nina").exists()


def test_a_member_sees_the_team_and_changes_nothing(estate: Estate) -> None:
    member = make.user("milo")
    estate.team.memberships.create(user=member)
    make.user("nina")
    client = browser(member)
    page = client.get(reverse("team-detail", args=[estate.team.pk]))
    assert "milo" in seen(page).text
    assert "Add a member" not in seen(page).text
    assert client.post(reverse("team-member-add", args=[estate.team.pk]), {"username": "nina"}).status_code == 403
    own = estate.team.memberships.get(user=member)
    assert client.post(reverse("team-member-remove", args=[estate.team.pk, own.pk])).status_code == 403
    assert estate.team.memberships.count() == 1


def test_a_membership_of_another_team_is_not_there(owner: Client, estate: Estate) -> None:
    other = make.team("Payroll people", members=[make.user("pia")]).memberships.get()
    assert owner.post(reverse("team-member-remove", args=[estate.team.pk, other.pk])).status_code == 404
    assert User.objects.get(username="pia").memberships.exists()


@pytest.mark.parametrize("ended", [False, True])
def test_my_access_is_in_words(estate: Estate, ended: bool) -> None:
    milo = make.user("milo")
    estate.team.memberships.create(user=milo)
    make.grant(estate.team, "operator", estate.ledger)
    grant = make.grant(milo, "viewer", estate.vm, expires_at=timezone.now() + timedelta(days=3))
    make.grant(make.user("other"), "administrator")
    if ended:
        Grant.objects.filter(pk=grant.pk).update(expires_at=timezone.now() - timedelta(days=1))
    text = seen(browser(milo).get(reverse("my-access"))).text
    assert "Operator on segment Ledger for a test" in text
    assert "Through the team Accounting View Power on, off, reboot Open the console Take snapshots" in text
    assert "Viewer on VM ledger-app" in text
    assert "To you yourself" in text
    assert ("Ended" in text) == ended
    assert "Administrator" not in text
