"""Giving access: nobody gives more than they hold, and every change leaves its event."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import Effect, Grant, Membership
from access.services.grants import grant_create, grant_revoke
from access.services.people import member_add, member_remove, team_create, user_create, user_deactivate
from access.services.roles import role_create, role_templates_install
from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make

pytestmark = pytest.mark.django_db


def events(action: EventAction) -> int:
    return AuditEvent.objects.filter(action=action).count()


def test_an_owner_grants_within_the_segment_and_it_is_recorded():
    segment = make.segment()
    owner, colleague = make.user_with("owner", segment), make.user()
    before = events(EventAction.GRANT_CREATED)
    grant_create(actor=owner, holder=colleague, role=make.role("operator"), target=segment, reason="New colleague")
    assert gate.can(colleague, Action.POWER, make.vm(segment=segment))
    assert events(EventAction.GRANT_CREATED) == before + 1


def test_an_owner_cannot_grant_beyond_the_segment_or_beyond_own_rights():
    segment, other = make.segment(), make.segment()
    owner, colleague = make.user_with("owner", segment), make.user()
    with pytest.raises(NotVisible):
        grant_create(actor=owner, holder=colleague, role=make.role("viewer"), target=other, reason="x")
    with pytest.raises(NotAllowed):
        grant_create(actor=owner, holder=colleague, role=make.role("viewer"), everything=True, reason="x")
    with pytest.raises(NotAllowed):
        grant_create(actor=owner, holder=colleague, role=make.role("administrator"), target=segment, reason="x")
    assert not Grant.objects.filter(user=colleague).exists()


def test_a_viewer_grants_nothing_and_revokes_nothing():
    segment = make.segment()
    viewer = make.user_with("viewer", segment)
    grant = Grant.objects.get(user=viewer)
    with pytest.raises(NotAllowed):
        grant_create(actor=viewer, holder=viewer, role=make.role("viewer"), target=segment, reason="more")
    with pytest.raises(NotAllowed):
        grant_revoke(actor=viewer, grant=grant)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "  "},
        {"everything": False, "target": None},
        {"expires_at": timezone.now() - timedelta(hours=1)},
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(wrong):
    request = {"everything": True, "reason": "because"} | wrong
    with pytest.raises(InvalidAccessRequest):
        grant_create(actor=SYSTEM, holder=make.user(), role=make.role("viewer"), **request)


def test_everything_and_an_object_at_once_is_refused():
    with pytest.raises(InvalidAccessRequest):
        grant_create(
            actor=SYSTEM, holder=make.user(), role=make.role(), target=make.vm(), everything=True, reason="both"
        )


def test_a_lead_manages_members_but_makes_no_leads():
    lead, member = make.user(), make.user()
    team = make.team(leads=[lead])
    member_add(actor=lead, team=team, user=member)
    assert Membership.objects.filter(team=team, user=member, is_lead=False).exists()
    with pytest.raises(NotAllowed):
        member_add(actor=lead, team=team, user=make.user(), is_lead=True)
    with pytest.raises(NotAllowed):
        member_add(actor=member, team=team, user=make.user())
    member_remove(actor=lead, team=team, user=member)
    with pytest.raises(InvalidAccessRequest):
        member_remove(actor=lead, team=team, user=member)


@pytest.mark.parametrize("who", ["leads another team", "closed"])
def test_nobody_else_manages_members(who):
    lead, member = make.user(is_active=who != "closed"), make.user()
    team, other = make.team(members=[member]), make.team()
    Membership.objects.create(team=team if who == "closed" else other, user=lead, is_lead=True)
    for attempt in (
        lambda: member_add(actor=lead, team=team, user=make.user()),
        lambda: member_remove(actor=lead, team=team, user=member),
    ):
        with pytest.raises(NotAllowed):
            attempt()


def test_who_leaves_a_team_leaves_that_one_alone_and_nobody_else_does():
    member, mate = make.user(), make.user()
    team, other = make.team(members=[member, mate]), make.team(members=[member])
    member_remove(actor=SYSTEM, team=team, user=member)
    assert set(Membership.objects.values_list("team", "user")) == {(team.pk, mate.pk), (other.pk, member.pk)}


def test_who_may_grant_for_a_while_gives_for_no_longer_what_they_hold_for_ever():
    segment, granter, colleague = make.segment(), make.user_with("viewer"), make.user()
    soon = timezone.now() + timedelta(hours=1)
    make.grant(granter, make.role_of("grant"), segment, expires_at=soon)
    with pytest.raises(InvalidAccessRequest):
        grant_create(actor=granter, holder=colleague, role=make.role("viewer"), target=segment, reason="x")
    grant_create(actor=granter, holder=colleague, role=make.role("viewer"), target=segment, reason="x", expires_at=soon)


def test_a_grant_is_on_what_grants_can_be_on():
    snapshot = make.snapshot(make.vm())
    with pytest.raises(InvalidAccessRequest):
        grant_create(actor=SYSTEM, holder=make.user(), role=make.role("viewer"), target=snapshot, reason="x")


def test_leaving_a_team_takes_its_access_away_at_once():
    segment, user = make.segment(), make.user()
    team, vm = make.team(members=[user]), make.vm(segment=segment)
    make.grant(team, "operator", segment)
    assert gate.can(user, Action.POWER, vm)
    member_remove(actor=SYSTEM, team=team, user=user)
    assert not gate.can(user, Action.VIEW, vm)


def test_only_who_grants_everywhere_makes_accounts_teams_and_roles():
    owner = make.user_with("owner", make.segment())
    for make_it in (
        lambda: user_create(actor=owner, username="x", password="long-enough-and-odd"),
        lambda: team_create(actor=owner, name="x"),
        lambda: role_create(actor=owner, slug="x", name="x", actions=["view"]),
        lambda: user_deactivate(actor=owner, user=make.user()),
    ):
        with pytest.raises(NotAllowed):
            make_it()


def test_nobody_closes_their_own_account():
    administrator = make.user_with("administrator")
    with pytest.raises(InvalidAccessRequest):
        user_deactivate(actor=administrator, user=administrator)
    user_deactivate(actor=make.user_with("administrator"), user=administrator)
    assert not administrator.is_active


def test_a_weak_password_and_a_taken_name_are_refused():
    user_create(actor=SYSTEM, username="ann", password="long-enough-and-odd")
    for request in ({"username": "bob", "password": "short"}, {"username": "ann", "password": "long-enough-and-odd"}):
        with pytest.raises(InvalidAccessRequest):
            user_create(actor=SYSTEM, **request)


@pytest.mark.parametrize("actions", [[], ["power"], ["view", "fly"], ["view", "view"]])
def test_a_role_of_nonsense_is_refused(actions):
    with pytest.raises(InvalidAccessRequest):
        role_create(actor=SYSTEM, slug="odd", name="Odd", actions=actions)


def test_templates_installed_again_bring_their_grants_up_to_date():
    vm, user = make.vm(), make.user()
    grant = make.grant(user, "operator", vm)
    grant.role.actions = ["view"]
    grant.role.save()
    role_templates_install()
    assert gate.can(user, Action.POWER, vm)


def test_a_refused_grant_leaves_neither_grant_nor_event():
    role = make.role()
    before = AuditEvent.objects.count()
    with pytest.raises(NotVisible):
        grant_create(actor=make.user(), holder=make.user(), role=role, target=make.vm(), effect=Effect.DENY, reason="x")
    assert not Grant.objects.exists()
    assert AuditEvent.objects.count() == before
