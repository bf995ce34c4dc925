"""Four eyes in the portal."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.gate import SYSTEM
from jobs.approvals import approval_rules_set
from jobs.models import BrokenGlass, Job
from jobs.services import job_submit
from jobs.states import State
from portal.pages.approval_facts import may_decide
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen


@pytest.fixture
def ruled(estate: Estate) -> Estate:
    approval_rules_set(actor=SYSTEM, segment=estate.ledger, operations=["snapshot.revert"])
    return estate


def revert(client: Client, estate: Estate, **more: str) -> Any:
    """Ask for the revert through its form."""
    address = reverse("vm-revert", args=[estate.vm.pk, estate.baseline.pk])
    page = client.get(address)
    form = page.context["form"]
    fields = {name: form[name].value() or "on" for name in form.fields}
    return page, client.post(address, fields | more)


def test_the_form_says_that_it_will_wait_and_the_job_does(ruled: Estate, owner: Client) -> None:
    mara = browser(make.user_with("maintainer", ruled.ledger, username="mara"))
    page, answer = revert(mara, ruled)
    assert "needs somebody else's approval" in seen(page).text
    assert "break_glass" not in page.content.decode()
    job = Job.objects.get()
    assert (answer.status_code, job.state) == (302, State.AWAITING_APPROVAL)
    waiting = seen(mara.get(reverse("approvals")))
    assert "For somebody else to decide" in waiting.text
    shown = seen(owner.get(reverse("job-detail", args=[job.pk])))
    assert reverse("job-approve", args=[job.pk]) in shown.links
    deciding = seen(owner.get(reverse("job-approve", args=[job.pk]))).text
    for words in ("ledger-app, running", "Ledger", "golden", "everything written since", "1 later snapshot stays"):
        assert words in deciding, words
    assert owner.post(reverse("job-approve", args=[job.pk]), {"note": "seen"}).status_code == 302
    job.refresh_from_db()
    assert job.state == State.QUEUED
    assert "Approved by" in seen(mara.get(reverse("job-detail", args=[job.pk]))).text


def test_who_decides_sees_that_the_baseline_is_to_be_another_one(estate: Estate, owner: Client) -> None:
    mara = make.user_with("maintainer", estate.ledger)
    asked = {"operation": "snapshot.create", "target": estate.vm, "params": {"baseline": True, "replace": True}}
    job = job_submit(actor=mara, **asked)
    deciding = seen(owner.get(reverse("job-approve", args=[job.pk]))).text
    for words in ("In place of the present one yes", "Baseline no more golden, of"):
        assert words in deciding, words


def test_who_decides_sees_that_nothing_is_kept_before_going_back(ruled: Estate, owner: Client) -> None:
    mara = make.user_with("maintainer", ruled.ledger)
    asked = {"operation": "snapshot.revert", "target": ruled.vm}
    for safety in (True, False):
        job = job_submit(actor=mara, params={"snapshot": ruled.baseline.name, "safety": safety}, **asked)
        deciding = seen(owner.get(reverse("job-approve", args=[job.pk]))).text
        assert ("Kept before nothing: there is no way back" in deciding) is not safety


def test_it_is_turned_down_with_a_reason(ruled: Estate, owner: Client) -> None:
    mara = browser(make.user_with("maintainer", ruled.ledger))
    revert(mara, ruled)
    job = Job.objects.get()
    address = reverse("job-reject", args=[job.pk])
    assert owner.post(address, {"reason": " "}).status_code == 400
    assert mara.post(address, {"reason": "mine"}).status_code == 403
    assert owner.post(address, {"reason": "not this week"}).status_code == 302
    assert "not this week" in seen(mara.get(reverse("job-detail", args=[job.pk]))).text


def test_strangers_find_nothing(ruled: Estate) -> None:
    revert(browser(make.user_with("maintainer", ruled.ledger)), ruled)
    stranger = browser(make.user_with("owner", ruled.payroll))
    job = Job.objects.get()
    for name in ("job-approve", "job-reject"):
        assert stranger.get(reverse(name, args=[job.pk])).status_code == 404
    assert "ledger-app" not in seen(stranger.get(reverse("approvals"))).text


def test_an_owner_goes_ahead_alone_and_an_auditor_takes_note(ruled: Estate, owner: Client) -> None:
    page, _answer = revert(owner, ruled, break_glass="the books are gone")
    assert "go ahead without" in seen(page).text
    job, broken = Job.objects.get(), BrokenGlass.objects.get()
    assert job.state == State.QUEUED
    assert "the books are gone" in seen(owner.get(reverse("job-detail", args=[job.pk]))).text
    address = reverse("broken-glass-acknowledge", args=[broken.pk])
    assert owner.get(address).status_code == 403
    auditor = browser(make.user_with("auditor"))
    listed = seen(auditor.get(reverse("approvals")))
    assert "the books are gone" in listed.text
    assert address in listed.links
    assert auditor.post(address, {"note": "looked into"}).status_code == 302
    assert "the books are gone" not in seen(auditor.get(reverse("approvals"))).text
    assert "looked into" in seen(auditor.get(reverse("job-detail", args=[job.pk]))).text


def test_the_rules_are_set_from_above(estate: Estate, owner: Client) -> None:
    address = reverse("segment-approvals", args=[estate.ledger.pk])
    assert owner.get(address).status_code == 403
    admin = browser(make.user_with("administrator"))
    assert admin.post(address, {"operations": ["snapshot.revert", "vm.force_off"]}).status_code == 302
    page = seen(owner.get(reverse("segment-detail", args=[estate.ledger.pk]))).text
    assert "Force off" in page
    assert admin.post(address, {"operations": ["fly"]}).status_code == 400


def test_the_list_costs_the_same_however_much_waits(ruled: Estate, owner: Client, statements: Any) -> None:
    mara = make.user_with("maintainer", ruled.ledger)
    vera = make.user_with("viewer", ruled.ledger)
    for _ in range(2):
        job_submit(actor=mara, operation="snapshot.revert", target=ruled.vm, params={"snapshot": "golden"})
        make.access_request(vera, "operator", ruled.vm)
    few = statements(owner, reverse("approvals"))
    for _ in range(8):
        job_submit(actor=mara, operation="snapshot.revert", target=ruled.vm, params={"snapshot": "golden"})
        make.access_request(vera, "operator", ruled.vm)
    assert statements(owner, reverse("approvals")) == few
    assert few <= 14


def test_the_buttons_are_for_somebody_else_who_approves_there_while_it_waits(estate: Estate) -> None:
    asker, owner = make.user_with("owner", estate.ledger), make.user_with("owner", estate.ledger)
    waiting = make.job(estate.vm, by=asker, operation="snapshot.revert", state=State.AWAITING_APPROVAL)
    over = make.job(estate.vm, by=asker, state=State.CANCELLED)
    assert may_decide(waiting, owner)
    assert not may_decide(waiting, asker)
    assert not may_decide(waiting, make.user_with("maintainer", estate.ledger))
    assert not may_decide(over, owner)
