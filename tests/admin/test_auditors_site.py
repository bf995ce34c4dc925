"""The auditors' site: who comes in, that everything can be read, and that nothing can be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from access.actions import Action
from access.gate import SYSTEM
from access.models import Effect, Membership
from audit.events import EventAction, Outcome
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record_alone
from inventory.models import VM, ApprovalRule, SeenChange, Sighting
from jobs.approvals import ask_for_approval
from jobs.models import Approval, BrokenGlass, Step
from jobs.states import State
from portal.admin.base import CappedPaginator
from portal.admin.site import auditors
from tests import factories as make

pytestmark = pytest.mark.django_db

HOSTILE = '<script>alert(1)</script>\'; $(reboot) & "x"'


@pytest.fixture
def auditor(client: Client) -> Client:
    """A client that an auditor is signed in with."""
    client.force_login(make.user_with("auditor", username="auditor"))
    return client


@pytest.fixture
def estate() -> list[Model]:
    """One of everything that the site shows, with names that a page must not act upon."""
    segment = make.segment(HOSTILE)
    host = make.host("north", networks=["default"])
    vm = make.vm(HOSTILE, segment=segment, host=host, title=HOSTILE, disks=[{"target": "vda", "source": HOSTILE}])
    make.nic(vm, "net-a", foreign_segment=segment)
    snapshot = make.snapshot(vm, HOSTILE, baseline=True)
    person = make.user("anna", full_name=HOSTILE)
    team = make.team(HOSTILE[:150], members=[person])
    grant = make.grant(team, "operator", segment)
    job = make.job(vm, by=person, state=State.FAILED, params={"name": HOSTILE}, error_message=HOSTILE)
    step = Step.objects.create(
        job=job, position=1, phase="execute", name="save", title=HOSTILE, detail=HOSTILE, started_at=timezone.now()
    )
    event = record_alone(EventAction.VM_CHANGED, target=vm, actor=SYSTEM, reason=HOSTILE, after={"title": HOSTILE})
    request = make.access_request(make.user_with("viewer", vm), "operator", vm)
    waiting = make.job(vm, by=person, state=State.AWAITING_APPROVAL, params={"name": HOSTILE})
    broken = BrokenGlass.objects.create(job=job, reason=HOSTILE)
    rule = ApprovalRule.objects.create(segment=segment, operation="vm.patch")
    change = SeenChange.objects.create(
        vm=vm, host_name=host.name, kind=SeenChange.Kind.DEFINITION, after={"title": HOSTILE}, seen_at=timezone.now()
    )
    seal = AuditSeal.objects.create(
        sequence=1, event_id=event.pk, previous_mac="0" * 64, mac="1" * 64, key_id="k", sealed_at=timezone.now()
    )
    return [
        event, seal, person, team, Membership.objects.get(), grant.role, grant, host.cluster, host, segment, vm,
        snapshot, Sighting.objects.get(), job, step, request, ask_for_approval(waiting), broken, rule, change,
        make.placement_rule(host.cluster, kind="only_on", segment=segment, hosts=[host], name=HOSTILE[:100]),
    ]  # fmt: skip


def address(found: Model, page: str = "change") -> str:
    """The address of an object's page."""
    return f"/admin/{found._meta.app_label}/{found._meta.model_name}/{found.pk}/{page}/"


def list_address(found: Model) -> str:
    """The address of the list that an object is in."""
    return f"/admin/{found._meta.app_label}/{found._meta.model_name}/"


def test_an_auditor_reads_every_noun_and_nothing_is_live_in_it(auditor, estate):
    assert {type(found) for found in estate} == set(auditors._registry)
    assert auditor.get("/admin/").status_code == 200
    for found in estate:
        for page in (list_address(found), address(found)):
            answer = auditor.get(page)
            text = answer.content.decode()
            assert answer.status_code == 200, page
            assert "<script>alert" not in text, page
            assert 'name="_save"' not in text, page


def test_an_event_shows_its_place_in_the_chain(auditor, estate):
    event = next(found for found in estate if found._meta.model_name == "auditevent")
    assert "as number 1, at 20" in auditor.get(address(event)).content.decode()
    newer = record_alone(EventAction.VM_CHANGED, actor=SYSTEM)
    assert "not yet" in auditor.get(address(newer)).content.decode()


def test_the_password_is_not_shown(auditor):
    person = make.user("carl", password="correct horse battery")
    text = auditor.get(address(person)).content.decode()
    assert "carl" in text
    assert person.password not in text
    assert person.password.split("$")[-1] not in text


def test_nothing_can_be_changed(auditor, estate):
    before = {type(found): type(found)._default_manager.count() for found in estate}
    for found in estate:
        assert auditor.post(address(found), {"name": "changed", "_save": "Save"}).status_code == 403
        assert auditor.post(address(found, "delete"), {"post": "yes"}).status_code == 404
        assert auditor.post(f"{list_address(found)}add/", {"name": "new"}).status_code == 404
        removal = {"action": "delete_selected", "_selected_action": [str(found.pk)], "post": "yes"}
        auditor.post(list_address(found), removal)
    assert {type(found): type(found)._default_manager.count() for found in estate} == before


@pytest.mark.parametrize("slug", ["platform-operator", "viewer"])
def test_who_may_not_read_the_record_is_refused_and_that_is_recorded(client, estate, slug):
    client.force_login(make.user_with(slug, username="curious"))
    for page in ("/admin/", *(list_address(found) for found in estate), address(estate[0])):
        assert client.get(page).status_code == 403, page
    refusal = AuditEvent.objects.filter(action=EventAction.ACCESS_REFUSED, actor_name="curious")[0]
    assert (refusal.outcome, refusal.detail["action"]) == (Outcome.REFUSED, Action.READ_AUDIT)


def test_a_right_to_read_the_record_of_one_segment_does_not_open_the_site(client):
    client.force_login(make.user_with("auditor", make.segment()))
    assert client.get("/admin/").status_code == 403


def test_who_is_not_signed_in_is_sent_to_the_portals_own_page(client, estate):
    for page in ("/admin/", list_address(estate[0]), address(estate[0])):
        answer = client.get(page)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/sign-in/?next=/admin/")


def test_django_staff_and_superusers_get_nothing_by_being_that(client):
    person = make.user("root")
    person.is_staff = person.is_superuser = True
    person.save()
    client.force_login(person)
    assert client.get("/admin/").status_code == 403


def test_what_is_denied_to_an_auditor_stays_out_of_the_lists(client):
    person = make.user_with("auditor")
    secret, open_ = make.segment("secret"), make.segment("open")
    host = make.host()
    hidden, shown = make.vm("hidden-vm", segment=secret, host=host), make.vm("shown-vm", segment=open_, host=host)
    make.grant(person, "viewer", secret, effect=Effect.DENY)
    client.force_login(person)
    text = client.get("/admin/inventory/vm/").content.decode()
    assert "shown-vm" in text
    assert "hidden-vm" not in text
    assert client.get(address(shown)).status_code == 200
    assert client.get(address(hidden)).status_code == 302  # Django's answer to an id that is not there


def test_every_address_of_the_site_declares_that_it_reads_the_record(auditor):
    def patterns(resolver):
        for entry in resolver.url_patterns:
            if isinstance(entry, URLResolver):
                yield from patterns(entry)
            elif isinstance(entry, URLPattern):
                yield entry

    site = next(entry for entry in get_resolver().url_patterns if str(entry.pattern) == "admin/")
    found = list(patterns(site))
    assert len(found) == 3 + 3 * len(auditors._registry) + 3 + 3
    declared = {entry.name: entry.callback.declared_action for entry in found}
    for export in ("audit_auditevent_export", "access_export"):
        assert declared.pop(export) == Action.EXPORT
    assert set(declared.values()) == {Action.READ_AUDIT}
    names = {entry.name for entry in found}
    assert not {name for name in names if "add" in name or "delete" in name or "password" in name or "login" in name}


def test_an_objects_history_is_what_the_record_tells_of_it(auditor, estate):
    vm = next(found for found in estate if found._meta.model_name == "vm")
    answer = auditor.get(address(vm, "history"))
    assert answer["Location"] == f"/admin/audit/auditevent/?object_type=vm&object_id={vm.pk}"
    record_alone(EventAction.VM_CHANGED, target=Target(type="vm", id="99999", name="another"), actor=SYSTEM)
    shown = auditor.get(answer["Location"]).context["cl"].result_list
    assert {event.object_id for event in shown} == {str(vm.pk)}
    for found in estate:
        answer = auditor.get(address(found, "history"), follow=True)
        assert answer.status_code == 200, found


@pytest.mark.parametrize("term", ["web", "7", "0f0e0d0c-0b0a-4908-8706-050403020100", "'; --", "%", "x" * 300])
def test_any_search_is_answered(auditor, estate, term):
    for found in estate:
        assert auditor.get(list_address(found), {"q": term}).status_code == 200, found


def test_searching_the_record_finds_a_person_and_a_job(auditor, estate):
    job = next(found for found in estate if found._meta.model_name == "job")
    record_alone(EventAction.JOB_FAILED, target=job, actor=make.user("zoe"))
    for term, found in (("zoe", 1), ("ZO", 1), ("nobody", 0)):
        assert auditor.get("/admin/audit/auditevent/", {"q": term}).context["cl"].result_count == found
    assert auditor.get("/admin/jobs/job/", {"q": str(job.pk)}).context["cl"].result_count == 1


@pytest.mark.parametrize("number", [10, 60])
def test_lists_cost_the_same_number_of_statements_however_long(auditor, number, django_assert_max_num_queries):
    segment, host, person = make.segment(), make.host(), make.user()
    for vm in make.vms(number, segment=segment, host=host):
        make.job(vm, by=person, state=State.SUCCEEDED)
        make.grant(person, "viewer", vm)
        ask_for_approval(make.job(vm, by=person, state=State.AWAITING_APPROVAL, locks=[]))
        make.access_request(person, "operator", vm)
        SeenChange.objects.create(vm=vm, kind=SeenChange.Kind.POWER, seen_at=timezone.now())
    for page in (
        "inventory/vm", "jobs/job", "access/grant", "audit/auditevent", "jobs/approval", "access/accessrequest",
        "inventory/seenchange",
    ):  # fmt: skip
        with django_assert_max_num_queries(12):
            assert auditor.get(f"/admin/{page}/").status_code == 200


@pytest.mark.parametrize(
    ("page", "query", "number"),
    [
        ("jobs/approval", "open=yes", 1),
        ("jobs/approval", "open=late", 1),
        ("jobs/approval", "own=yes", 0),
        ("access/accessrequest", "open=yes", 1),
        ("access/accessrequest", "open=late", 0),
        ("access/accessrequest", "own=yes", 0),
        ("jobs/brokenglass", "acknowledged=no", 1),
        ("jobs/brokenglass", "acknowledged=yes", 0),
        ("inventory/seenchange", "acknowledged=no&kind__exact=definition", 1),
        ("inventory/seenchange", "acknowledged=yes", 0),
        ("inventory/approvalrule", "operation=vm.patch", 1),
        ("inventory/approvalrule", "operation=vm.migrate", 0),
    ],
)
def test_second_looks_are_found(auditor, estate, page, query, number):
    job = next(found for found in estate if found._meta.model_name == "job")
    late = ask_for_approval(job)
    Approval.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert auditor.get(f"/admin/{page}/?{query}").context["cl"].result_count == number


def test_a_decision_by_whoever_asked_would_be_found(auditor, estate):
    """No service makes one; a hand in the database could."""
    approval = Approval.objects.select_related("job").get()
    Approval.objects.update(verdict="approved", decided_by=approval.job.requested_by)
    assert auditor.get("/admin/jobs/approval/?own=yes").context["cl"].result_count == 1


def test_approvals_and_their_rules_stay_out_where_an_auditor_is_denied(auditor):
    seen, denied = make.vm(segment=make.segment("open")), make.vm(segment=make.segment("closed"))
    for vm in (seen, denied):
        ask_for_approval(make.job(vm, by=make.user(), state=State.AWAITING_APPROVAL, locks=[]))
        ApprovalRule.objects.create(segment=vm.segment, operation="vm.patch")
    half = make.user_with("auditor", username="half")
    make.grant(half, "viewer", denied.segment, effect=Effect.DENY)
    auditor.force_login(half)
    shown = auditor.get("/admin/jobs/approval/").context["cl"].queryset
    assert [approval.job.vm for approval in shown] == [seen]
    rules = auditor.get("/admin/inventory/approvalrule/").context["cl"].queryset
    assert [rule.segment for rule in rules] == [seen.segment]


def test_a_placement_rule_names_what_its_auditor_sees_and_counts_the_rest(auditor):
    host, closed = make.host(), make.segment("closed")
    seen = make.vm("ledger", segment=make.segment("open"), host=host)
    hidden = make.vm("engine", segment=closed, host=host)
    rule = make.placement_rule(host.cluster, seen, hidden, name="never both")
    half = make.user_with("auditor", username="half")
    make.grant(half, "viewer", closed, effect=Effect.DENY)
    for reader, shown, counted in ((None, {"ledger", "engine"}, 0), (half, {"ledger"}, 1)):
        if reader:
            auditor.force_login(reader)
        found = auditor.get(address(rule)).context["original"]
        assert {vm.name for vm in found.seen.vms} == shown
        assert found.seen.hidden == counted
        text = auditor.get(address(rule)).content.decode()
        assert ("engine" in text) == ("engine" in shown)


def test_a_long_list_is_counted_only_so_far(monkeypatch):
    monkeypatch.setattr("portal.admin.base.LONGEST_LIST", 7)
    make.vms(9)
    pages = CappedPaginator(VM.objects.all(), 5)
    assert (pages.count, pages.num_pages) == (7, 2)
