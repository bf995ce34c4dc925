"""Access for a while: who may ask, who decides, and that it ends by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import AccessRequest, Effect, Grant, UserVMPermission
from access.services.grants import grant_create
from access.services.requests import (
    LONGEST_HOURS,
    access_request,
    access_request_grant,
    access_request_refuse,
    access_request_withdraw,
)
from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def vm():
    return make.vm(segment=make.segment("finance"))


@pytest.fixture
def vic(vm):
    return make.user_with("viewer", vm.segment, username="vic")


@pytest.fixture
def owner(vm):
    return make.user_with("owner", vm.segment, username="olga")


def test_what_is_granted_holds_for_the_hours_asked_and_ends_by_the_clock(vm, vic, owner):
    request = make.access_request(vic, "maintainer", vm, hours=2)
    assert not gate.can(vic, Action.PATCH, vm)
    request = access_request_grant(actor=owner, request=request, note="for the closing")
    assert gate.can(vic, Action.PATCH, vm)
    assert (request.grant.author, request.grant.user, request.grant.vm) == (owner, vic, vm)
    assert timedelta(hours=1.99) < request.grant.expires_at - timezone.now() <= timedelta(hours=2)
    past = timezone.now() - timedelta(milliseconds=1)
    UserVMPermission.objects.filter(grant=request.grant).update(expires_at=past)
    assert not gate.can(vic, Action.PATCH, vm)
    told = AuditEvent.objects.filter(action__in=[EventAction.ACCESS_REQUEST_MADE, EventAction.ACCESS_REQUEST_GRANTED])
    assert [event.actor_name for event in told.order_by("pk")] == ["vic", "olga"]


def test_nobody_decides_about_themselves(vm, owner):
    request = make.access_request(owner, "placement", vm)
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)
    assert not Grant.objects.filter(request=request).exists()


def test_slipway_itself_does_not_decide(vm, vic):
    """Somebody has to look at it: no schedule and no command line does."""
    request = make.access_request(vic, "operator", vm)
    with pytest.raises(InvalidAccessRequest, match="somebody else"):
        access_request_grant(actor=SYSTEM, request=request)


def test_a_role_that_came_to_give_on_meanwhile_is_not_given(vm, vic, owner):
    role = make.role_of("power")
    request = access_request(actor=vic, role=role, target=vm, hours=4, reason="for a test")
    role.actions = [*role.actions, "grant"]
    role.save()
    with pytest.raises(InvalidAccessRequest, match="gives access to others"):
        access_request_grant(actor=owner, request=request)


def test_nothing_is_given_to_an_account_that_was_closed(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    vic.is_active = False
    vic.save()
    with pytest.raises(InvalidAccessRequest, match="is closed"):
        access_request_grant(actor=owner, request=request)


def test_nobody_gives_more_than_they_hold(vm, vic, owner):
    request = make.access_request(vic, "placement", vm)
    with pytest.raises(NotAllowed):
        access_request_grant(actor=owner, request=request)
    request.refresh_from_db()
    assert request.verdict == AccessRequest.Verdict.WAITING


def test_the_right_to_grant_alone_does_not_decide(vm, vic):
    granter = make.user()
    make.grant(granter, make.role_of("view", "grant", "patch"), vm)
    request = make.access_request(vic, "operator", vm)
    with pytest.raises(NotAllowed):
        access_request_grant(actor=granter, request=request)


def test_what_is_not_seen_is_not_asked_for(vm):
    stranger = make.user()
    with pytest.raises(NotVisible):
        make.access_request(stranger, "operator", vm)


def test_a_stranger_neither_sees_nor_decides(vm, vic):
    request = make.access_request(vic, "operator", vm)
    stranger = make.user_with("owner", make.segment())
    assert request not in AccessRequest.objects.visible_to(stranger)
    with pytest.raises(NotVisible):
        access_request_refuse(actor=stranger, request=request, note="no")


def test_who_sees_a_request(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    other = make.user_with("maintainer", vm.segment)
    auditor = make.user_with("auditor")
    seen = {user.username: request in AccessRequest.objects.visible_to(user) for user in (vic, owner, auditor, other)}
    assert seen == {"vic": True, "olga": True, auditor.username: True, other.username: False}


def test_it_is_decided_once(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    with pytest.raises(InvalidAccessRequest):
        access_request_refuse(actor=owner, request=request, note=" ")
    access_request_refuse(actor=owner, request=request, note="not needed")
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)
    with pytest.raises(InvalidAccessRequest):
        access_request_withdraw(actor=vic, request=request)


def test_one_takes_back_ones_own(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    with pytest.raises(NotAllowed):
        access_request_withdraw(actor=owner, request=request)
    access_request_withdraw(actor=vic, request=request)
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)


def test_it_waits_for_a_day(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    AccessRequest.objects.update(expires_at=timezone.now())
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)


def test_a_closed_account_gets_nothing(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    type(vic).objects.filter(pk=vic.pk).update(is_active=False)
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)


@pytest.mark.parametrize(
    "change", [{"hours": 0}, {"hours": LONGEST_HOURS + 1}, {"reason": "  "}, {"role": "viewer"}, {"target": None}]
)
def test_a_request_that_makes_no_sense_is_refused(vm, vic, change):
    asked = {"role": "operator", "target": vm, "hours": 1, "reason": "why not"} | change
    with pytest.raises(InvalidAccessRequest):
        access_request(actor=vic, **(asked | {"role": make.role(asked["role"])}))
    assert not AccessRequest.objects.exists()


def test_the_right_to_give_on_is_not_given_for_a_while(vm, vic):
    """An hour as an owner would else be enough to become one for ever."""
    with pytest.raises(InvalidAccessRequest):
        make.access_request(vic, "owner", vm)


def test_what_is_held_for_a_while_is_given_no_longer(vm):
    ends = timezone.now() + timedelta(hours=1)
    owner, anna = make.user(), make.user()
    make.grant(owner, "owner", vm, expires_at=ends)
    give = {"actor": owner, "holder": anna, "role": make.role("operator"), "target": vm, "reason": "why not"}
    for too_long in (None, ends + timedelta(seconds=1)):
        with pytest.raises(InvalidAccessRequest):
            grant_create(**give, expires_at=too_long)
    assert grant_create(**give, expires_at=ends).expires_at == ends


def test_who_lost_sight_of_it_meanwhile_is_not_given_it_back(vm, vic, owner):
    request = make.access_request(vic, "operator", vm)
    Grant.objects.filter(user=vic).delete()
    with pytest.raises(InvalidAccessRequest):
        access_request_grant(actor=owner, request=request)


def test_a_denial_hides_requests_even_from_who_approves_everything(vm, vic):
    request = make.access_request(vic, "operator", vm)
    boss = make.user()
    make.grant(boss, make.role_of("view", "approve"))
    assert request in AccessRequest.objects.visible_to(boss)
    make.grant(boss, "viewer", vm.segment, effect=Effect.DENY)
    assert request not in AccessRequest.objects.visible_to(boss)
