"""Why somebody may do something, and what a change would alter, in the portal."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from access.models import AccessRequest, Effect, Grant, Membership
from audit.models import AuditEvent
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen


def test_an_owner_sees_everybody_and_why(owner: Client, estate: Estate) -> None:
    make.grant(estate.team, "operator", estate.ledger, reason="keeping the books")
    nina = make.user("nina")
    Membership.objects.create(team=estate.team, user=nina)
    address = reverse("vm-access", args=[estate.vm.pk])
    page = seen(owner.get(address))
    assert "nina" in page.text
    assert "olaf" in page.text
    assert f"?user={nina.pk}&action=power" in page.links
    why = seen(owner.get(address, {"user": nina.pk, "action": "power"})).text
    assert "Operator on segment Ledger through the team Accounting" in why
    assert "keeping the books" in why
    assert "no grant gives it" in seen(owner.get(address, {"user": nina.pk, "action": "revert"})).text


def test_others_see_only_themselves(viewer: Client, estate: Estate) -> None:
    olga = make.user_with("owner", estate.ledger, username="olga")
    address = reverse("vm-access", args=[estate.vm.pk])
    page = seen(viewer.get(address))
    assert "olga" not in page.text
    assert "no grant gives it" in seen(viewer.get(address, {"action": "power"})).text
    # Whoever sees only themselves learns nothing of others, not even that they are there.
    assert viewer.get(address, {"user": olga.pk, "action": "power"}).status_code == 404


def test_a_question_about_nobody_is_a_404(owner: Client, estate: Estate) -> None:
    address = reverse("vm-access", args=[estate.vm.pk])
    for query in ({"user": "999999", "action": "power"}, {"user": "x", "action": "power"}, {"action": "fly"}):
        assert owner.get(address, query).status_code == 404


def test_giving_access_can_be_looked_at_first(owner: Client, estate: Estate) -> None:
    nina = make.user("nina")
    Membership.objects.create(team=estate.team, user=nina)
    events = AuditEvent.objects.count()
    fields = {"team": estate.team.pk, "role": make.role("operator").pk, "reason": "closing", "preview": "1"}
    answer = owner.post(reverse("segment-grant", args=[estate.ledger.pk]), fields)
    text = seen(answer).text
    assert answer.status_code == 200
    assert "What will change" in text
    assert "nina" in text
    assert "ledger-app" in text
    assert "payroll-secret" not in text
    assert not Grant.objects.filter(team=estate.team).exists()
    assert AuditEvent.objects.count() == events


def test_taking_access_away_can_be_looked_at_first(owner: Client, estate: Estate) -> None:
    nina = make.user("nina")
    grant = make.grant(nina, "operator", estate.ledger)
    text = seen(owner.post(reverse("segment-revoke", args=[estate.ledger.pk, grant.pk]), {"preview": "1"})).text
    assert "Loses: View, Power on, off, reboot" in text
    assert Grant.objects.filter(pk=grant.pk).exists()


def test_a_member_who_gains_nothing_new_is_said_so(owner: Client, estate: Estate) -> None:
    make.user("nina")
    text = seen(
        owner.post(reverse("team-member-add", args=[estate.team.pk]), {"username": "nina", "preview": "1"})
    ).text
    assert "Nothing on what you see" in text
    assert not Membership.objects.filter(user__username="nina").exists()


def test_a_denial_is_shown_as_what_takes(owner: Client, estate: Estate) -> None:
    nina = make.user_with("operator", estate.ledger, username="nina")
    make.grant(nina, make.role_of("power"), estate.vm, effect=Effect.DENY, reason="on leave")
    why = seen(owner.get(reverse("vm-access", args=[estate.vm.pk]), {"user": nina.pk, "action": "power"})).text
    assert "denied by" in why
    assert "on leave" in why


def test_a_vm_that_is_not_seen_has_no_such_page(estate: Estate) -> None:
    stranger = browser(make.user("stranger"))
    assert stranger.get(reverse("vm-access", args=[estate.vm.pk])).status_code == 404


def test_access_is_asked_for_and_given_for_a_while(owner: Client, viewer: Client, estate: Estate) -> None:
    ask = reverse("vm-ask", args=[estate.vm.pk])
    offered = {role.slug for role in viewer.get(ask).context["form"].fields["role"].queryset}
    assert "viewer" not in offered
    fields = {"role": make.role("operator").pk, "hours": 3, "reason": "the closing"}
    assert viewer.post(ask, fields | {"hours": 999}).status_code == 400
    assert viewer.post(ask, fields).status_code == 302
    waiting = seen(viewer.get(reverse("approvals"))).text
    assert "For somebody else to decide" in waiting
    listed = seen(owner.get(reverse("approvals")))
    assert "asks to be Operator on vm ledger-app for 3 hours" in listed.text
    request = AccessRequest.objects.get()
    give = reverse("access-give", args=[request.pk])
    assert give in listed.links
    assert "Gains: Power on, off, reboot" in seen(owner.post(give, {"preview": "1"})).text
    assert not Grant.objects.filter(request=request).exists()
    assert owner.post(give, {"note": ""}).status_code == 302
    assert Grant.objects.get(request=request).expires_at is not None
    assert "Nobody asks" in seen(owner.get(reverse("approvals"))).text


def test_a_request_is_turned_down(owner: Client, viewer: Client, estate: Estate) -> None:
    fields = {"role": make.role("operator").pk, "hours": 3, "reason": "the closing"}
    viewer.post(reverse("segment-ask", args=[estate.ledger.pk]), fields)
    request = AccessRequest.objects.get()
    refuse = reverse("access-refuse", args=[request.pk])
    assert viewer.get(refuse).status_code == 403
    assert owner.post(refuse, {"reason": ""}).status_code == 400
    assert owner.post(refuse, {"reason": "not needed"}).status_code == 302
    request.refresh_from_db()
    assert (request.verdict, request.note) == ("refused", "not needed")
