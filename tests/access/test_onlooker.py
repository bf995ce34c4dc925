"""To see everything is not to hold anything else on everything: each service refuses who only looks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access import gate
from access.actions import Action
from access.errors import NotAllowed
from access.explain import explain_for
from access.gate import SYSTEM
from access.models import AccessRequest, Effect, EverythingPermission, Grant, Team, User
from access.services.grants import grant_create, grant_revoke
from access.services.people import member_add, member_remove, team_create, user_create, user_deactivate
from access.services.requests import access_request_refuse
from access.services.roles import role_create
from inventory.models import SeenChange
from inventory.services.hosts import cluster_create, host_create, host_delete, host_sync_requested
from inventory.services.segments import segment_create, segment_set_networks, vm_assign_segment
from jobs.approvals import approval_rules_set, broken_glass_acknowledge, job_approve, job_reject
from jobs.attribution import changes_acknowledge
from jobs.models import BrokenGlass
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make

pytestmark = pytest.mark.django_db


class Estate:
    """One of everything, and somebody who is in the team."""

    def __init__(self) -> None:
        self.host = make.host()
        self.segment = make.segment()
        self.vm = make.vm(segment=self.segment, host=self.host)
        self.member = make.user_with("viewer", self.segment)
        self.team = make.team(members=[self.member])
        self.grant = make.grant(self.team, "viewer", self.segment)
        self.job = make.job(make.vm(segment=self.segment, host=self.host), by=self.member)
        self.waiting = make.job(self.vm, by=self.member, state=State.AWAITING_APPROVAL)
        self.broken = BrokenGlass.objects.create(job=self.job, reason="a fire")
        self.request = make.access_request(self.member, "operator", self.segment)
        outside = {"kind": SeenChange.Kind.STOPPED, "verdict": SeenChange.Verdict.OUTSIDE}
        SeenChange.objects.create(vm=self.vm, host_name=self.host.name, seen_at=self.vm.observed_at, **outside)


ATTEMPTS: dict[str, Callable[[Any, Estate], object]] = {
    "an account": lambda who, on: user_create(actor=who, username="x", password="long-enough-and-odd"),
    "closing an account": lambda who, on: user_deactivate(actor=who, user=on.member),
    "a team": lambda who, on: team_create(actor=who, name="x"),
    "a member": lambda who, on: member_add(actor=who, team=on.team, user=make.user()),
    "a member less": lambda who, on: member_remove(actor=who, team=on.team, user=on.member),
    "a role": lambda who, on: role_create(actor=who, slug="x", name="x", actions=["view"]),
    "a grant": lambda who, on: grant_create(
        actor=who, holder=on.member, role=make.role("viewer"), target=on.segment, reason="x"
    ),
    "a grant on everything": lambda who, on: grant_create(
        actor=who, holder=on.member, role=make.role("viewer"), everything=True, reason="x"
    ),
    "a grant less": lambda who, on: grant_revoke(actor=who, grant=on.grant),
    "a request turned down": lambda who, on: access_request_refuse(actor=who, request=on.request, note="no"),
    "why somebody else may": lambda who, on: explain_for(who, on.member, Action.VIEW, on.vm),
    "a cluster": lambda who, on: cluster_create(actor=who, name="x"),
    "a host": lambda who, on: host_create(actor=who, name="x", uri="sim://x/", cluster=on.host.cluster),
    "a host less": lambda who, on: host_delete(actor=who, host=on.host),
    "a host read": lambda who, on: host_sync_requested(actor=who, host=on.host),
    "a segment": lambda who, on: segment_create(actor=who, name="x"),
    "a segment's networks": lambda who, on: segment_set_networks(actor=who, segment=on.segment, networks=["x"]),
    "a VM out of its segment": lambda who, on: vm_assign_segment(actor=who, vm=on.vm, segment=None),
    "the rules of a segment": lambda who, on: approval_rules_set(actor=who, segment=on.segment, operations=[]),
    "approving": lambda who, on: job_approve(actor=who, job=on.waiting),
    "rejecting": lambda who, on: job_reject(actor=who, job=on.waiting, reason="no"),
    "broken glass": lambda who, on: broken_glass_acknowledge(actor=who, broken=on.broken),
    "changes from outside": lambda who, on: changes_acknowledge(actor=who, vm=on.vm),
    "work": lambda who, on: job_submit(actor=who, operation="vm.reboot", target=on.vm),
    "stopping work": lambda who, on: job_cancel(actor=who, job=on.job),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_it_is_refused(attempt: str) -> None:
    estate, onlooker = Estate(), make.user_with("viewer")
    with pytest.raises(NotAllowed):
        ATTEMPTS[attempt](onlooker, estate)


@pytest.mark.parametrize("attempt", ["a host", "a segment", "the rules of a segment"])
def test_the_attempts_are_such_as_can_be_made(attempt: str) -> None:
    ATTEMPTS[attempt](SYSTEM, Estate())


def test_a_vm_goes_only_to_a_segment_to_which_one_may_assign() -> None:
    estate, other = Estate(), make.segment()
    owner = make.user_with("owner", estate.segment)
    make.grant(owner, "viewer", other)
    with pytest.raises(NotAllowed):
        vm_assign_segment(actor=owner, vm=estate.vm, segment=other)
    make.grant(owner, "owner", other)
    assert vm_assign_segment(actor=owner, vm=estate.vm, segment=other).segment == other


def test_who_sees_everything_carries_no_vm_out_of_reach_of_the_rules() -> None:
    estate, elsewhere = Estate(), make.segment()
    approval_rules_set(actor=SYSTEM, segment=estate.segment, operations=["vm.reboot"])
    owner = make.user_with("owner", estate.segment)
    make.grant(owner, "owner", elsewhere)
    make.grant(owner, "viewer")
    with pytest.raises(NotAllowed):
        vm_assign_segment(actor=owner, vm=estate.vm, segment=elsewhere)


def test_others_grants_and_requests_are_not_seen() -> None:
    estate, onlooker = Estate(), make.user_with("viewer")
    assert list(Grant.objects.visible_to(onlooker)) == list(Grant.objects.filter(user=onlooker))
    assert not AccessRequest.objects.visible_to(onlooker).exists()
    viewer = make.user_with("viewer", estate.segment)
    assert list(Grant.objects.visible_to(viewer)) == list(Grant.objects.filter(user=viewer))
    assert not AccessRequest.objects.visible_to(viewer).exists()


def test_what_is_ones_own_is_seen_and_nothing_more() -> None:
    """Oneself, one's team, grants and requests: to see them gives no action on them, to nobody."""
    estate = Estate()
    member, stranger, auditor = estate.member, make.user(), make.user_with("auditor")
    assert gate.held_on(auditor, estate.grant) == {Action.VIEW}
    for thing in (member, estate.team, estate.grant, estate.request):
        assert gate.held_on(member, thing) == {Action.VIEW}
        assert gate.held_on(stranger, thing) == set()


def test_a_colleague_and_nobody_else_is_seen() -> None:
    estate, stranger = Estate(), make.user()
    mate = make.user()
    estate.team.memberships.create(user=mate)
    make.team(members=[stranger])
    assert set(User.objects.visible_to(mate)) == {mate, estate.member}
    assert list(Team.objects.visible_to(mate)) == [estate.team]
    assert set(User.objects.visible_to(stranger)) == {stranger}


@pytest.mark.parametrize("missing", ["view", "grant"])
def test_over_people_a_denial_wins_and_without_view_nothing_is_held(missing: str) -> None:
    estate, administrator = Estate(), make.user_with("administrator")
    assert gate.can(administrator, Action.GRANT, estate.team)
    denial = make.grant(administrator, make.role_of("grant"), effect=Effect.DENY)
    EverythingPermission.objects.filter(grant=denial).exclude(action=missing).delete()
    for thing in (estate.team, estate.member, estate.grant):
        assert not gate.can(administrator, Action.GRANT, thing)


def test_a_closed_account_sees_nobody() -> None:
    estate = Estate()
    estate.member.is_active = False
    for rows in (User.objects, Team.objects, Grant.objects, AccessRequest.objects):
        assert not rows.visible_to(estate.member).exists()
