"""Who might do what at a moment of the past: as the gate said it then, and honest about what can't be known."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access import gate
from access.actions import Action
from access.asof import Moment
from access.errors import InvalidAccessRequest, NotVisible
from access.gate import SYSTEM
from access.grant_facts import GrantThen
from access.history import CHANGES, MEMBERSHIPS, PLACES
from access.models import Effect, Grant, Membership, Role, User
from access.role_templates import TEMPLATES, RoleTemplate
from access.services import people as people_services
from access.services import requests as request_services
from access.services import roles as role_services
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from audit.record import Target, record
from hypervisor.types import GuestState, PowerState, StateReason
from inventory.models import VM, Cluster, Host, Segment
from inventory.observations import guest_observed
from inventory.services.hosts import cluster_create, host_create
from inventory.services.segments import segment_create, vm_assign_segment
from tests import factories as make

pytestmark = pytest.mark.django_db

#: What the gate said: (user, kind and id of the object) -> actions
Said = dict[tuple[int, str, int], frozenset[Action]]


class Town:
    """People, teams, segments and VMs, and random changes to who may do what, all by the services."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.hosts = [make.host()]
        self.segments = [segment_create(actor=SYSTEM, name=f"s-{seed}-{n}-{time.monotonic_ns()}") for n in range(2)]
        self.admin = make.user_with("administrator")
        self.people = [make.user() for _ in range(3)]
        self.teams = [make.team() for _ in range(2)]
        self.vms = [self._discovered() for _ in range(2)]
        self.grants: list[Grant] = []

    def _discovered(self) -> VM:

        uuid = str(uuid4())
        seen = GuestState(uuid, f"vm-{uuid[:8]}", PowerState.RUNNING, StateReason.BOOTED, 512, 1)
        guest_observed(self.hosts[0], uuid, seen, timezone.now())
        return VM.objects.get(uuid=uuid)

    def step(self, monkeypatch: Any) -> str:
        """One change. Returns its name."""
        name = self.chance.choice(
            ["grant", "grant", "grant", "short", "deny", "revoke", "join", "join", "leave", "move", "move", "move",
             "role", "ask", "wait", "deactivate", "arrive", "discover", "segment", "enrol"]
        )  # fmt: skip
        if name == "role":
            self._role(monkeypatch)
        else:
            getattr(self, f"_{name}")()
        return name

    def _target(self) -> Any:
        return self.chance.choice([None, *self.segments, *self.vms, *self.vms, *self.hosts, *self._clusters()])

    def _holder(self) -> Any:
        return self.chance.choice([*self.people, *self.teams])

    def _grant(self, **more: Any) -> None:
        slug = self.chance.choice(["viewer", "operator", "maintainer"])
        self.grants.append(make.grant(self._holder(), slug, self._target(), **more))

    def _short(self) -> None:
        ends = timezone.now() + timedelta(milliseconds=self.chance.choice([15, 60, 200]))
        try:
            self._grant(expires_at=ends)
        except InvalidAccessRequest:
            assert timezone.now() >= ends  # a busy machine took longer than that to get there

    def _deny(self) -> None:
        self._grant(effect=Effect.DENY)

    def _revoke(self) -> None:
        if self.grants:
            grant_revoke(actor=SYSTEM, grant=self.grants.pop(self.chance.randrange(len(self.grants))))

    def _join(self) -> None:
        team, user = self.chance.choice(self.teams), self.chance.choice(self.people)
        if not Membership.objects.filter(team=team, user=user).exists():
            people_services.member_add(actor=SYSTEM, team=team, user=user, is_lead=self.chance.random() < 0.3)

    def _leave(self) -> None:
        membership = Membership.objects.filter(team__in=self.teams).order_by("?").first()
        if membership is not None:
            people_services.member_remove(actor=SYSTEM, team=membership.team, user=membership.user)

    def _move(self) -> None:
        vm_assign_segment(
            actor=SYSTEM, vm=self.chance.choice(self.vms), segment=self.chance.choice([None, *self.segments])
        )

    def _role(self, monkeypatch: Any) -> None:
        """A new release brings other built-in roles."""
        spare = [Action.POWER, Action.PATCH, Action.MIGRATE, Action.CONSOLE]
        changed = {"viewer": 1, "operator": 3}
        templates = tuple(
            RoleTemplate(one.slug, one.name, one.purpose, (Action.VIEW, *self.chance.sample(spare, changed[one.slug])))
            if one.slug in changed
            else one
            for one in TEMPLATES
        )
        monkeypatch.setattr(role_services, "TEMPLATES", templates)
        role_services.role_templates_install()

    def _ask(self) -> None:
        user, vm = self.chance.choice(self.people), self.chance.choice(self.vms)
        if not gate.can(user, Action.VIEW, vm):
            return
        try:
            request = make.access_request(user, "maintainer", vm, hours=1)
            request_services.access_request_grant(actor=self.admin, request=request)
        except InvalidAccessRequest:
            return
        self.grants.append(request_services.AccessRequest.objects.get(pk=request.pk).grant)  # type: ignore[arg-type]

    def _wait(self) -> None:
        """Until the next grant has ended, if one ends soon."""
        soon = timezone.now() + timedelta(seconds=1)
        ends = [grant.expires_at for grant in self.grants if grant.expires_at and grant.expires_at < soon]
        while ends and timezone.now() <= max(ends):
            time.sleep(0.005)

    def _deactivate(self) -> None:
        if self.chance.random() < 0.4:
            people_services.user_deactivate(actor=SYSTEM, user=self.chance.choice(self.people))

    def _arrive(self) -> None:
        name = f"new-{time.monotonic_ns()}"
        self.people.append(people_services.user_create(actor=SYSTEM, username=name, password="long-and-odd-enough"))

    def _discover(self) -> None:
        self.vms.append(self._discovered())

    def _segment(self) -> None:
        self.segments.append(segment_create(actor=SYSTEM, name=f"late-{time.monotonic_ns()}"))

    def _enrol(self) -> None:
        name = f"late-{time.monotonic_ns()}"
        cluster = self.chance.choice([cluster_create(actor=SYSTEM, name=name), *self._clusters()])
        self.hosts.append(host_create(actor=SYSTEM, name=name, uri=f"sim://{name}/", cluster=cluster))

    def _clusters(self) -> list[Any]:
        return sorted({host.cluster for host in self.hosts}, key=lambda cluster: cluster.pk)

    def objects(self) -> list[Any]:
        return [*self.vms, *self.segments, *self.hosts, *self._clusters()]

    def said(self) -> tuple[datetime, Said]:
        """What the gate says, at a moment in which no grant ends."""
        slack = timedelta(milliseconds=3)  # SQLite's clock counts milliseconds
        ends = [grant.expires_at for grant in self.grants if grant.expires_at]
        while True:
            before = timezone.now()
            found = self.asked()
            at = timezone.now()
            if not any(before - slack <= end <= at + slack for end in ends):
                return at, found

    def asked(self) -> Said:
        """What the gate says of everybody on everything."""
        people = list(User.objects.filter(pk__in=[user.pk for user in [self.admin, *self.people]]))
        found: Said = {}
        for model in (VM, Segment, Host, Cluster):
            objects = [item for item in self.objects() if isinstance(item, model)]
            objects = list(model.objects.filter(pk__in=[item.pk for item in objects]))  # as the database has them
            for user in people:
                for key, held in gate.actions_on(user, objects).items():
                    found[user.pk, model._meta.model_name or "", key] = frozenset(held)
        return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 14))
def test_the_past_is_what_the_gate_said_then(seed, steps, monkeypatch):
    """Whatever was changed, for everybody, on every object, every action: as remembered, and nothing before birth."""
    monkeypatch.setattr(role_services, "TEMPLATES", TEMPLATES)
    role_services.role_templates_install()
    town = Town(seed)
    remembered = [("start", *town.said())]
    for _ in range(steps):
        remembered.append((town.step(monkeypatch), *town.said()))
    path = [name for name, _at, _said in remembered]
    everybody = [town.admin, *town.people]
    for number, (_name, at, said) in enumerate(remembered):
        view = Moment(at).of(town.objects())
        assert view.known_since is None
        for target in town.objects():
            for user in everybody:
                expected = said.get((user.pk, target._meta.model_name, target.pk), frozenset())
                where = f"{user} on {target._meta.model_name} {target} after step {number} of {path}"
                assert view.held(user.pk, target) == expected, where
                for action in (Action.VIEW, Action.PATCH):
                    answer = view.why(user, action, target)
                    assert answer.allowed is (action in expected), where
                    assert answer.sentence
                if expected:
                    assert user.pk in view.people(target), where


def test_now_is_what_the_gate_says_now():
    segment = make.segment()
    vm, user = make.vm(segment=segment), make.user_with("operator", segment)
    view = Moment().of([vm, segment])
    assert view.held(user.pk, vm) == gate.held_on(user, vm) != set()
    assert view.held(user.pk, segment) == gate.held_on(user, segment)
    assert view.people(vm) == {user.pk}


def test_the_chain_of_a_grant_that_is_gone_is_told():
    segment = make.segment("accounting")
    vm, user = make.vm("acct-1", segment=segment), make.user("ada")
    team = make.team("books", members=[user])
    grant = make.grant(team, "maintainer", segment, reason="year's end")
    then = timezone.now()
    number = grant.pk
    grant_revoke(actor=SYSTEM, grant=grant)
    vm_assign_segment(actor=SYSTEM, vm=vm, segment=None)
    answer = Moment(then).of([vm]).why(user, Action.PATCH, vm)
    assert answer.allowed
    assert answer.sentence == (
        "ada held “Patch” on acct-1: maintainer on segment accounting through the team books (year's end)."
    )
    assert [(link.grant.id, link.has_ended) for link in answer.links] == [(number, False)]
    assert not Moment().of([vm]).why(user, Action.PATCH, vm).allowed


def test_a_teams_members_are_its_own_then_and_now():
    record(EventAction.VM_CHANGED, target=Target(type="vm", id="0"), actor=SYSTEM)
    ada, bert, carl = make.user("ada"), make.user("bert"), make.user("carl")
    books, desk = make.team("books", members=[ada]), make.team("desk", members=[carl])
    then = timezone.now()
    people_services.member_add(actor=SYSTEM, team=books, user=bert)
    people_services.member_remove(actor=SYSTEM, team=desk, user=carl)
    assert Moment(then).members(books.pk) == {ada.pk}
    assert Moment(then).members(desk.pk) == {carl.pk}
    assert Moment().members(books.pk) == {ada.pk, bert.pk}
    assert Moment().members(desk.pk) == set()


def test_what_was_not_there_yet_is_told_as_that():
    begin = timezone.now()
    record(EventAction.VM_CHANGED, target=Target(type="vm", id="0"), actor=SYSTEM)
    then = timezone.now()
    segment = segment_create(actor=SYSTEM, name="late")
    user = people_services.user_create(actor=SYSTEM, username="newcomer", password="long-and-odd-enough")
    make.grant(user, "viewer")
    view = Moment(then).of([segment])
    assert view.why(user, Action.VIEW, segment).sentence.endswith("there was no such object yet.")
    assert view.why(user, Action.VIEW, None).sentence.endswith("there was no such account yet.")
    assert view.people(segment) == set()
    assert begin < then


def test_before_the_record_nothing_is_said():
    with pytest.raises(InvalidAccessRequest, match="is empty"):
        Moment(timezone.now() - timedelta(days=1))
    record(EventAction.VM_CHANGED, target=Target(type="vm", id="0"), actor=SYSTEM)
    with pytest.raises(InvalidAccessRequest, match="begins at"):
        Moment(timezone.now() - timedelta(days=1))


def test_the_future_is_not_asked_about():
    with pytest.raises(InvalidAccessRequest, match="not been yet"):
        Moment(timezone.now() + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("action", "target", "facts"),
    [
        (EventAction.GRANT_REVOKED, "grant", {"before": {"holder": "user ada", "role": "viewer", "actions": ["view"]}}),
        (EventAction.MEMBERSHIP_REMOVED, "holder", {"before": {"user": "ada"}}),
        (EventAction.VM_SEGMENT_ASSIGNED, "vm", {"before": {"segment": "accounting"}}),
        (EventAction.TEAM_DELETED, "team", {}),
    ],
)
def test_what_an_event_does_not_tell_enough_of_makes_the_time_before_it_unknown(action, target, facts):
    vm, team = make.vm(), make.team()
    make.grant(team, "viewer", vm)
    then = timezone.now()
    about = {"vm": Target("vm", str(vm.pk)), "holder": Target("team", str(team.pk))}.get(target, Target(target, "4711"))
    told = record(action, target=about, actor=SYSTEM, **facts)
    after = timezone.now()
    record(EventAction.VM_CHANGED, target=Target(type="vm", id="0"), actor=SYSTEM)
    assert Moment(then).of([vm]).known_since == told.at
    assert Moment(after).of([vm]).known_since is None


def test_who_was_in_a_team_is_uncertain_before_what_cannot_be_undone():
    team, vm = make.team(members=[make.user()]), make.vm()
    record(EventAction.VM_CHANGED, target=Target("vm", "0"), actor=SYSTEM)
    then = timezone.now()
    told = record(EventAction.MEMBERSHIP_REMOVED, target=team, actor=SYSTEM, before={"user": "ada"})
    for narrowing in (lambda moment: moment.members(team.pk), lambda moment: moment.teams_of([0])):
        moment = Moment(then)
        assert moment.of([vm]).known_since is None  # the team holds nothing there
        narrowing(moment)
        assert moment.of([vm]).known_since == told.at


def test_a_change_in_the_middle_of_reading_is_noticed(monkeypatch):
    """Else a grant that is given just then would be undone, or not, by halves."""
    segment = make.segment()
    vm, user = make.vm(segment=segment), make.user_with("viewer", segment)
    moment, read = Moment(), Moment._read
    interruptions = [lambda: vm_assign_segment(actor=SYSTEM, vm=vm, segment=None)]

    def interrupted(self: Moment, targets: Any) -> Any:
        view = read(self, targets)
        if interruptions:
            interruptions.pop()()
        return view

    monkeypatch.setattr(Moment, "_read", interrupted)
    assert Action.VIEW in moment.of([vm]).held(user.pk, vm)
    assert moment._read_at_count == 1  # and then the events were read again


def test_what_is_recorded_of_a_grant_that_goes_is_what_it_gave_last(monkeypatch):
    """Whoever revokes it may have loaded it before a new release changed its role."""
    grant = make.grant(make.user(), "viewer")
    assert grant.role.actions == ["view"]
    viewer = RoleTemplate("viewer", "Viewer", "", (Action.VIEW, Action.CONSOLE))
    monkeypatch.setattr(role_services, "TEMPLATES", (viewer,))
    role_services.role_templates_install()
    grant_revoke(actor=SYSTEM, grant=grant)
    assert AuditEvent.objects.latest("pk").before["actions"] == ["console", "view"]
    with pytest.raises(NotVisible):
        grant_revoke(actor=SYSTEM, grant=grant)


def test_a_grant_is_read_from_the_record_as_it_was_written():
    ends = datetime(2031, 1, 31, 8, tzinfo=UTC)
    team, vm = make.team("books"), make.vm()
    grant = make.grant(team, "operator", vm, expires_at=ends, effect=Effect.DENY, reason="not now")
    event = AuditEvent.objects.get(action=EventAction.GRANT_CREATED, object_id=str(grant.pk))
    assert GrantThen.of_document(grant.pk, event.after) == GrantThen.of_grant(grant, grant.role.actions)


def test_what_changes_access_is_told_apart_from_what_does_not():
    """A new kind of event has to be put on one of the two sides, by hand."""
    told = {
        *CHANGES,
        *MEMBERSHIPS,
        *PLACES,
        EventAction.SEGMENT_CREATED,
        EventAction.HOST_CREATED,
        EventAction.CLUSTER_CREATED,
    }
    nouns = ("grant", "role", "membership", "team", "user", "segment", "cluster", "host", "vm")
    rest = {event for event in EventAction if event.value.split(".")[0] in nouns} - told
    assert rest == {
        EventAction.USER_SIGNED_IN, EventAction.USER_SIGN_IN_FAILED, EventAction.USER_SIGNED_OUT,
        EventAction.USER_CHANGED, EventAction.TEAM_CREATED, EventAction.TEAM_CHANGED, EventAction.ROLE_CREATED,
        EventAction.ROLE_DELETED, EventAction.SEGMENT_CHANGED, EventAction.CLUSTER_CHANGED,
        EventAction.CLUSTER_DELETED, EventAction.HOST_CHANGED, EventAction.HOST_DELETED,
        EventAction.HOST_SYNC_REQUESTED, EventAction.VM_CHANGED, EventAction.VM_VANISHED, EventAction.VM_MOVED,
        EventAction.VM_CHANGED_OUTSIDE, EventAction.VM_CHANGE_ACKNOWLEDGED, EventAction.VM_DEFINITION_APPROVED,
    }  # fmt: skip


def test_a_new_release_that_changes_a_built_in_role_is_in_the_record(monkeypatch):
    role_services.role_templates_install()
    count = AuditEvent.objects.count()
    role_services.role_templates_install()
    assert AuditEvent.objects.count() == count
    viewer = RoleTemplate("viewer", "Viewer", "", (Action.VIEW, Action.CONSOLE))
    monkeypatch.setattr(role_services, "TEMPLATES", (viewer,))
    role_services.role_templates_install()
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.object_id) == (EventAction.ROLE_CHANGED, str(Role.objects.get(slug="viewer").pk))
    assert (event.before, event.after) == ({"actions": ["view"]}, {"actions": ["view", "console"]})
