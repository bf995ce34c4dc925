"""The gate: what a row gives, what takes it away, and that its three questions never disagree."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access import gate
from access.actions import Action
from access.backends import GateBackend
from access.effects import targets
from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import (
    AccessRequest,
    Effect,
    EverythingPermission,
    Grant,
    Team,
    User,
    UserSegmentPermission,
    UserVMPermission,
)
from access.querysets import ScopedQuerySet
from access.services.grants import grant_revoke
from inventory.models import VM, Host
from jobs.models import Job
from tests import factories as make
from tests.access.reference import may

pytestmark = pytest.mark.django_db


def test_without_a_grant_nothing_exists():
    user, vm = make.user(), make.vm()
    assert not VM.objects.visible_to(user).exists()
    with pytest.raises(NotVisible):
        gate.authorise(user, Action.VIEW, vm)


def test_a_segment_grant_reaches_its_vms_and_no_others():
    ours, theirs = make.segment(), make.segment()
    mine, other, none = make.vm(segment=ours), make.vm(segment=theirs), make.vm(segment=None)
    user = make.user_with("operator", ours)
    assert list(VM.objects.visible_to(user)) == [mine]
    assert gate.can(user, Action.POWER, mine)
    for vm in (other, none):
        assert not gate.can(user, Action.VIEW, vm)


def test_seen_but_not_allowed_differs_from_unseen():
    segment = make.segment()
    vm, user = make.vm(segment=segment), make.user_with("viewer", segment)
    with pytest.raises(NotAllowed):
        gate.authorise(user, Action.MIGRATE, vm)


def test_deleting_the_row_takes_the_access_away():
    segment = make.segment()
    vm, user = make.vm(segment=segment), make.user_with("viewer", segment)
    assert gate.can(user, Action.VIEW, vm)
    UserSegmentPermission.objects.filter(permission__codename="view").delete()
    assert not gate.can(user, Action.VIEW, vm)
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


def test_the_grant_alone_gives_nothing():
    """The gate reads rows, not grants: a grant without rows is an intent that was never carried out."""
    vm, user = make.vm(), make.user()
    Grant.objects.create(user=user, role=make.role("viewer"), vm=vm, reason="no rows")
    assert not gate.can(user, Action.VIEW, vm)


def test_revoking_takes_the_rows_along():
    vm, user = make.vm(), make.user()
    grant = make.grant(user, "maintainer", vm)
    assert UserVMPermission.objects.filter(user=user).count() == len(grant.role.actions)
    grant_revoke(actor=SYSTEM, grant=grant)
    assert not UserVMPermission.objects.filter(user=user).exists()
    assert not gate.can(user, Action.VIEW, vm)


def test_two_grants_of_the_same_right_are_two_rows():
    """Revoking one must not take away what the other gives."""
    vm, user = make.vm(), make.user()
    first, _second = make.grant(user, "viewer", vm), make.grant(user, "viewer", vm)
    grant_revoke(actor=SYSTEM, grant=first)
    assert gate.can(user, Action.VIEW, vm)


@pytest.mark.parametrize("scope", ["segment", "everything"])
def test_deny_wins_over_any_allow(scope):
    segment = make.segment()
    vm, user = make.vm(segment=segment), make.user()
    make.grant(user, "maintainer", vm)
    make.grant(user, "maintainer", segment)
    make.grant(user, make.role_of("migrate"), segment if scope == "segment" else None, effect=Effect.DENY)
    assert not gate.can(user, Action.MIGRATE, vm)
    assert not gate.can(user, Action.VIEW, vm)  # the deny role holds view as well
    assert not VM.objects.visible_to(user).exists()


def test_a_grant_ends_by_itself():
    vm, user = make.vm(), make.user()
    make.grant(user, "viewer", vm, expires_at=timezone.now() + timedelta(hours=1))
    assert gate.can(user, Action.VIEW, vm)
    UserVMPermission.objects.update(expires_at=timezone.now() - timedelta(milliseconds=1))
    assert not gate.can(user, Action.VIEW, vm)
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


@pytest.mark.parametrize("through_a_team", [False, True])
@pytest.mark.parametrize("scope", ["everything", "segment", "vm"])
def test_every_kind_of_grant_ends_by_itself(scope, through_a_team):
    vm, user = make.vm(segment=make.segment()), make.user()
    holder = make.team(members=[user]) if through_a_team else user
    grant = make.grant(holder, "viewer", {"everything": None, "segment": vm.segment, "vm": vm}[scope])
    assert list(VM.objects.visible_to(user)) == [vm]
    assert gate.can(user, Action.VIEW, vm)
    _expire(grant)
    assert not VM.objects.visible_to(user).exists()
    assert not gate.can(user, Action.VIEW, vm)
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


@pytest.mark.parametrize("through_a_team", [False, True])
@pytest.mark.parametrize("scope", ["everything", "segment", "vm"])
def test_nobody_holds_what_somebody_else_was_given(scope, through_a_team):
    vm, user = make.vm(segment=make.segment()), make.user()
    holder = make.team(members=[user]) if through_a_team else user
    make.grant(holder, "viewer", {"everything": None, "segment": vm.segment, "vm": vm}[scope])
    bystander = make.user()
    make.team(members=[bystander])
    assert not VM.objects.visible_to(bystander).exists()
    assert not gate.can(bystander, Action.VIEW, vm)
    assert gate.actions_on(bystander, [vm]) == {vm.pk: set()}


@pytest.mark.parametrize("where", ["loaded", "in the database"])
def test_who_is_inactive_on_either_side_holds_nothing(where):
    """As it was loaded for this request, and as the database has it by now: one of them is enough."""
    vm, user, _active = make.vm(), make.user(), make.user()
    make.grant(user, "administrator")
    if where == "loaded":
        user.is_active = False
    else:
        type(user).objects.filter(pk=user.pk).update(is_active=False)
    assert not gate.can(user, Action.VIEW, vm)
    assert not gate.can(user, Action.GRANT, make.team())
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


@pytest.mark.parametrize("nobody", [AnonymousUser(), User(is_active=True)], ids=["anonymous", "not saved"])
def test_nobody_holds_nothing_and_costs_nothing(nobody, django_assert_num_queries):
    vm, team = make.vm(), make.team()
    make.grant(team, "administrator")
    with django_assert_num_queries(0):
        assert not gate.can(nobody, Action.VIEW, vm)
        assert gate.actions_on(nobody, [vm]) == {vm.pk: set()}
        for rows in (VM.objects, User.objects, Team.objects, Grant.objects, AccessRequest.objects):
            assert list(rows.visible_to(nobody)) == []


def test_of_nothing_nobody_holds_anything(django_assert_num_queries):
    user = make.user_with("administrator")
    with django_assert_num_queries(0):
        assert gate.actions_on(user, []) == {}


def test_work_on_a_host_is_reached_through_the_host():
    """A path over a VM leads nowhere there."""
    host, keeper = make.host(), make.user()
    make.grant(keeper, "placement", host)
    job = Job.objects.create(host=host, operation="host.drain", target_name=host.name, requester_name="x")
    assert gate.actions_on(keeper, [job]) == {job.pk: {Action.VIEW, Action.PLACE}}
    assert gate.actions_on(make.user(), [job]) == {job.pk: set()}


def test_on_what_is_gone_nobody_holds_anything():
    vm, user = make.vm(), make.user_with("administrator")
    VM.objects.filter(pk=vm.pk).delete()
    assert gate.held_on(user, vm) == set()
    with pytest.raises(NotVisible):
        gate.authorise(user, Action.POWER, vm)


def test_a_model_that_does_not_say_how_grants_reach_it_is_shown_to_nobody():
    class Bare(ScopedQuerySet):
        pass

    with pytest.raises(TypeError):
        Bare(VM).visible_to(make.user())


def test_there_are_no_other_scopes():
    with pytest.raises(ValueError, match="team is no scope"):
        targets(make.user(), "team", Action.VIEW, "allow")


def test_an_inactive_user_holds_nothing_on_any_path():
    vm, user = make.vm(), make.user()
    make.grant(user, "administrator")
    assert gate.can(user, Action.VIEW, vm)
    user.is_active = False
    user.save()
    assert not VM.objects.visible_to(user).exists()
    assert not gate.can(user, Action.VIEW, vm)
    assert not gate.can(user, Action.READ_AUDIT)
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


def test_who_was_deactivated_meanwhile_holds_nothing():
    """A job keeps its requester in memory for as long as it runs."""
    vm, user = make.vm(), make.user()
    make.grant(user, "administrator")
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    assert user.is_active
    assert not gate.can(user, Action.VIEW, vm)
    assert not gate.can(user, Action.READ_AUDIT)
    assert gate.actions_on(user, [vm]) == {vm.pk: set()}


def test_a_check_goes_by_where_the_vm_is_now():
    """A VM that was moved to another segment after it was loaded is judged by its new one."""
    ours, theirs = make.segment(), make.segment()
    vm, user = make.vm(segment=ours), make.user_with("operator", ours)
    type(vm).objects.filter(pk=vm.pk).update(segment=theirs)
    assert vm.segment_id == ours.pk
    assert not gate.can(user, Action.VIEW, vm)


def test_host_and_cluster_grants_never_reach_the_vms_on_them():
    host = make.host()
    vm, user = make.vm(host=host, segment=make.segment()), make.user()
    make.grant(user, "administrator", host)
    make.grant(user, "administrator", host.cluster)
    assert gate.can(user, Action.PLACE, host)
    assert not gate.can(user, Action.VIEW, vm)


def test_a_superuser_has_no_back_door():
    vm, user = make.vm(), make.user()
    user.is_superuser = user.is_staff = True
    user.save()
    assert not gate.can(user, Action.VIEW, vm)
    assert not user.has_perm("inventory.view", vm)
    assert not user.has_perm("audit.read_audit")


def test_djangos_question_gets_the_gates_answer():
    vm, user = make.vm(), make.user()
    make.grant(user, "operator", vm)
    assert user.has_perm("inventory.power", vm)
    assert not user.has_perm("inventory.migrate", vm)
    assert not user.has_perm("inventory.no_such_action", vm)
    assert user.get_all_permissions(vm) == {
        "inventory.view",
        "inventory.power",
        "inventory.console",
        "inventory.snapshot",
    }
    assert user.get_all_permissions() == set()
    assert not user.has_module_perms("audit")
    make.grant(user, "viewer")
    assert not user.has_module_perms("audit")
    assert make.user_with("auditor").has_module_perms("audit")


def test_django_is_told_that_who_is_not_signed_in_holds_nothing():
    vm, backend = make.vm(), GateBackend()
    assert not backend.has_perm(AnonymousUser(), "inventory.view", vm)
    assert not backend.has_module_perms(AnonymousUser(), "audit")
    assert backend.get_all_permissions(AnonymousUser(), vm) == set()


def test_everything_covers_what_is_yet_to_come():
    user = make.user_with("platform-operator")
    assert gate.can(user, Action.VIEW, make.vm())
    EverythingPermission.objects.all().delete()
    assert not gate.can(user, Action.VIEW, make.vm())


def test_many_objects_cost_one_statement(django_assert_num_queries):
    segment = make.segment()
    vms = [make.vm(segment=segment) for _ in range(20)]
    user = make.user_with("operator", segment)
    with django_assert_num_queries(1):
        answers = gate.actions_on(user, vms)
    assert all(Action.POWER in held for held in answers.values())


ACTIONS = ("view", "power", "migrate", "place")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), grants=st.integers(0, 8))
def test_list_check_and_buttons_agree_with_the_plain_rules(seed, grants):
    """For random grants: the list, the check and the buttons give what the slow reference says, object by object."""
    chance = random.Random(seed)
    segments = [make.segment(), make.segment()]
    hosts = [make.host(), make.host()]
    vms = [make.vm(segment=chance.choice([None, *segments]), host=chance.choice(hosts)) for _ in range(4)]
    user, bystander = make.user(is_active=chance.random() > 0.1), make.user()
    team = make.team(members=[user] if chance.random() > 0.3 else [bystander])
    for _ in range(grants):
        grant = make.grant(
            chance.choice([user, user, team, bystander]),
            make.role_of(*chance.sample(ACTIONS, chance.randint(1, 3))),
            chance.choice([None, *segments, *vms, *hosts, hosts[0].cluster]),
            effect=chance.choice([Effect.ALLOW, Effect.ALLOW, Effect.DENY]),
        )
        if chance.random() < 0.2:
            _expire(grant)
    now = timezone.now()
    for kind, model, objects in (("vm", VM, vms), ("host", Host, hosts)):
        buttons = gate.actions_on(user, objects)
        for action in ACTIONS:
            listed = set(model.objects.visible_to(user, Action(action)).values_list("pk", flat=True))
            for obj in objects:
                expected = may(user, action, obj, kind, now)
                assert (obj.pk in listed) is expected
                assert gate.can(user, Action(action), obj) is expected
                assert (Action(action) in buttons[obj.pk]) is expected


def _expire(grant: Grant) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.filter(pk=grant.pk).update(expires_at=past)
    EverythingPermission.objects.filter(grant=grant).update(expires_at=past)
    from access.rows import row_models

    for scope in ("segment", "vm", "host", "cluster"):
        for model in row_models(scope):
            model.objects.filter(grant=grant).update(expires_at=past)
