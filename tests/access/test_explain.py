"""Explanations and previews: they say what the gate does, and they change nothing."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from access import gate, preview
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed, NotVisible
from access.explain import explain, explain_for, who_may
from access.gate import SYSTEM
from access.models import Effect, Grant, Membership, UserSegmentPermission, UserVMPermission
from access.services.grants import grant_create, grant_revoke
from access.services.people import member_add, member_remove
from audit.models import AuditEvent
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance():
    return make.segment(name="finance")


@pytest.fixture
def ledger(finance):
    return make.vm(name="ledger", segment=finance)


def test_the_chain_names_grant_team_author_and_reason(finance, ledger):
    anna = make.user(username="anna")
    team = make.team(name="Accounting", members=[anna])
    grant = make.grant(team, "maintainer", finance, reason="closing the year")
    answer = explain(anna, Action.REVERT, ledger)
    assert answer.allowed
    assert [(link.action, link.grant) for link in answer.links] == [(Action.REVERT, grant)]
    for word in ("anna", "Maintainer", "segment finance", "the team Accounting", "closing the year"):
        assert word in answer.sentence


def test_without_a_grant_it_says_so(ledger):
    anna = make.user()
    answer = explain(anna, Action.REVERT, ledger)
    assert (answer.allowed, answer.links) == (False, [])
    assert "no grant gives it" in answer.sentence


def test_a_denial_comes_first_and_is_named(finance, ledger):
    anna = make.user()
    make.grant(anna, "maintainer", finance)
    denial = make.grant(anna, make.role_of("revert"), ledger, effect=Effect.DENY, reason="not before the audit")
    answer = explain(anna, Action.REVERT, ledger)
    assert not answer.allowed
    assert answer.links[0].grant == denial
    assert "not before the audit" in answer.sentence


def test_a_right_without_view_is_explained_as_such(ledger):
    anna = make.user()
    grant = make.grant(anna, "operator", ledger)
    UserVMPermission.objects.filter(grant=grant, permission__codename="view").delete()
    answer = explain(anna, Action.POWER, ledger)
    assert not answer.allowed
    assert "no grant lets" in answer.sentence


def test_what_has_ended_is_shown_and_does_not_count(finance, ledger):
    anna = make.user()
    grant = make.grant(anna, "maintainer", finance, expires_at=timezone.now() + timedelta(hours=1))
    past = timezone.now() - timedelta(seconds=1)
    UserSegmentPermission.objects.filter(grant=grant).update(expires_at=past)
    answer = explain(anna, Action.REVERT, ledger)
    assert not answer.allowed
    assert all(link.has_ended for link in answer.links)
    assert "has ended" in answer.sentence


def test_only_grants_that_speak_about_it_are_named(finance, ledger):
    anna, boris = make.user(), make.user()
    team, others = make.team(members=[anna]), make.team(members=[boris])
    told = {make.grant(holder, "operator", where).pk for holder in (anna, team) for where in (ledger, finance, None)}
    for where in (ledger, finance, None):
        for holder in (boris, others):
            make.grant(holder, "operator", where)  # somebody else's
        for holder in (anna, team):
            make.grant(holder, make.role_of("patch"), where)  # of another action
    for elsewhere in (make.vm(), make.segment()):
        make.grant(anna, "operator", elsewhere)
        make.grant(team, "operator", elsewhere)
    assert {link.grant.pk for link in explain(anna, Action.POWER, ledger).links} == told


def test_that_one_saw_it_until_lately_is_part_of_the_answer(finance, ledger):
    anna = make.user()
    power, view = make.grant(anna, "operator", ledger), make.grant(anna, "viewer", finance)
    UserVMPermission.objects.filter(grant=power, permission__codename="view").delete()
    UserSegmentPermission.objects.filter(grant=view).update(expires_at=timezone.now() - timedelta(seconds=1))
    links = explain(anna, Action.POWER, ledger).links
    assert [(link.action, link.grant, link.has_ended) for link in links] == [
        (Action.POWER, power, False),
        (Action.VIEW, view, True),
    ]


def test_a_deactivated_account_is_named_as_the_reason(finance, ledger):
    anna = make.user(is_active=False)
    make.grant(anna, "maintainer", finance)
    assert "deactivated" in explain(anna, Action.REVERT, ledger).sentence


def test_on_everything(ledger):
    anna = make.user()
    make.grant(anna, "auditor")
    assert explain(anna, Action.READ_AUDIT).allowed
    assert explain(anna, Action.VIEW, ledger).allowed
    assert not explain(anna, Action.GRANT).allowed


def test_who_may_ask(finance, ledger):
    anna, boris = make.user_with("viewer", finance), make.user()
    owner, auditor = make.user_with("owner", finance), make.user_with("auditor")
    assert explain_for(anna, anna, Action.REVERT, ledger).allowed is False
    assert explain_for(owner, anna, Action.VIEW, ledger).allowed
    assert explain_for(auditor, anna, Action.VIEW, ledger).allowed
    with pytest.raises(NotAllowed):
        explain_for(anna, owner, Action.REVERT, ledger)
    with pytest.raises(NotVisible):
        explain_for(boris, boris, Action.VIEW, ledger)


def test_everybody_who_holds_something_is_listed(finance, ledger):
    direct, through_team, auditor = make.user(username="b"), make.user(username="a"), make.user(username="c")
    make.grant(direct, "operator", ledger)
    make.grant(make.team(members=[through_team]), "viewer", finance)
    make.grant(auditor, "auditor")
    denied = make.user(username="d")
    make.grant(denied, "operator", ledger, effect=Effect.DENY)
    make.user_with("owner", make.segment())
    make.grant(make.user(is_active=False), "owner", finance)
    assert [(user, Action.POWER in held, bool(held)) for user, held in who_may(ledger)] == [
        (through_team, False, True),
        (direct, True, True),
        (auditor, False, True),
        (denied, False, False),
    ]


def test_the_command_answers_by_name_and_by_its_exit_status(finance, ledger):
    make.grant(make.user(username="anna"), "operator", finance)
    said = StringIO()
    call_command("access_explain", "anna", "power", "vm:ledger", stdout=said)
    assert "Operator on segment finance" in said.getvalue()
    with pytest.raises(SystemExit) as ended:
        call_command("access_explain", "anna", "revert", f"vm:{ledger.pk}", stdout=said)
    assert ended.value.code == 1


def test_a_preview_names_what_joining_gives_and_changes_nothing(finance, ledger):
    lead, anna = make.user(), make.user()
    team = make.team(members=[lead])
    Membership.objects.filter(user=lead).update(is_lead=True)
    make.grant(team, "operator", finance)
    before = AuditEvent.objects.count()
    found = preview.of_membership(lead, team, anna, lambda: member_add(actor=lead, team=team, user=anna))
    assert {(d.kind.lower(), d.target, Action.POWER in d.gained, d.lost) for d in found} == {
        ("segment", finance, True, ()),
        ("vm", ledger, True, ()),
    }
    assert not Membership.objects.filter(user=anna).exists()
    assert not gate.can(anna, Action.VIEW, ledger)
    assert AuditEvent.objects.count() == before


def test_a_preview_of_leaving_leaves_out_what_is_held_otherwise(finance, ledger):
    anna = make.user()
    team = make.team(members=[anna])
    make.grant(team, "operator", finance)
    make.grant(anna, "viewer", ledger)
    found = preview.of_membership(SYSTEM, team, anna, lambda: member_remove(actor=SYSTEM, team=team, user=anna))
    lost = {d.target: d.lost for d in found}
    assert Action.VIEW in lost[finance]
    assert Action.VIEW not in lost[ledger]
    assert Action.POWER in lost[ledger]
    assert gate.can(anna, Action.POWER, ledger)


def test_a_preview_of_a_denial_shows_what_it_takes(finance, ledger):
    anna = make.user()
    make.grant(anna, "maintainer", finance)
    role = make.role_of("revert")
    like = Grant(user=anna, vm=ledger)
    found = preview.of_grant(
        SYSTEM,
        like,
        lambda: grant_create(actor=SYSTEM, holder=anna, role=role, target=ledger, reason="a try", effect=Effect.DENY),
    )
    assert [(d.target, Action.REVERT in d.lost) for d in found] == [(ledger, True)]
    assert gate.can(anna, Action.REVERT, ledger)


def test_a_preview_is_refused_where_the_change_is(finance, ledger):
    anna, viewer = make.user(), make.user_with("viewer", finance)
    grant = make.grant(anna, "operator", finance)
    with pytest.raises(NotAllowed):
        preview.of_grant(viewer, grant, lambda: grant_revoke(actor=viewer, grant=grant))
    assert Grant.objects.filter(pk=grant.pk).exists()


def test_a_preview_names_nothing_that_its_reader_does_not_see(finance, ledger):
    """A lead of a team sees that a member gains something only on what the lead sees."""
    elsewhere = make.vm(segment=make.segment())
    lead, anna = make.user(), make.user()
    team = make.team()
    Membership.objects.create(team=team, user=lead, is_lead=True)
    make.grant(team, "operator", finance)
    make.grant(team, make.role_of("view"), elsewhere)
    make.grant(lead, make.role_of("view"), elsewhere, effect=Effect.DENY)
    found = preview.of_membership(lead, team, anna, lambda: member_add(actor=lead, team=team, user=anna))
    assert elsewhere not in {d.target for d in found}
    assert ledger in {d.target for d in found}


def test_an_explanation_names_no_grant_that_its_reader_does_not_see(finance, ledger):
    """Who owns one VM learns nothing of the segment it is in."""
    anna, owner = make.user_with("maintainer", finance), make.user_with("owner", ledger)
    answer = explain_for(owner, anna, Action.REVERT, ledger)
    assert (answer.allowed, answer.links) == (True, [])
    assert "finance" not in answer.sentence
    assert "that you do not see" in answer.sentence


def test_a_preview_of_too_much_is_refused(finance, ledger, monkeypatch):
    monkeypatch.setattr(preview, "MOST_ANSWERS", 1)
    anna = make.user()
    grant = make.grant(anna, "operator", finance)
    with pytest.raises(InvalidAccessRequest):
        preview.of_grant(SYSTEM, grant, lambda: grant_revoke(actor=SYSTEM, grant=grant))


@pytest.mark.parametrize("through_a_team", [False, True])
def test_a_preview_asks_only_about_whom_and_what_the_change_reaches(finance, ledger, through_a_team, monkeypatch):
    owner, anna = make.user_with("owner", finance), make.user(username="anna")
    make.vm(segment=finance)
    holder = make.team(members=[anna]) if through_a_team else anna
    grant = make.grant(holder, "viewer", ledger)
    monkeypatch.setattr(preview, "MOST_ANSWERS", 1)
    found = preview.of_grant(owner, grant, lambda: grant_revoke(actor=owner, grant=grant))
    assert [(difference.user, difference.target, difference.lost) for difference in found] == [
        (anna, ledger, (Action.VIEW,))
    ]
