"""The pages in a real browser: kept to the content policy, accessible, and good for doing the work."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from inventory.models import VM
from jobs.models import Job
from jobs.states import State
from tests import factories as make
from tests.browser.conftest import Visitor
from tests.browser.work import three_jobs, work_on_clusters, work_on_hosts

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


@pytest.fixture
def estate(transactional_db: None) -> dict[str, Any]:
    """An estate with something of everything on its pages."""
    cluster = make.cluster("baltic", shared_storage=True)
    north = make.host(
        "north-1", cluster=cluster, hypervisor="QEMU", hypervisor_version="7.2.9", networks=["ledger-net"]
    )
    south = make.host("south-1", cluster=cluster)
    make.host("west-1", cluster=cluster, connection="unreachable", connection_error="Connection timed out.")
    ledger, payroll = make.segment("Ledger", networks=["ledger-net"]), make.segment("Payroll", networks=["payroll-net"])
    now = timezone.now()
    disk = {"target": "vda", "device": "disk", "source": "/srv/a.qcow2", "format": "qcow2", "cache": "none"}
    vm = make.vm("ledger-app", segment=ledger, host=north, agent_channel=True, agent_connected=True, disks=[disk])
    make.nic(vm, "ledger-net")
    make.changed_definition(vm).save()
    make.snapshot(vm, "golden", baseline=True, description="As installed")
    make.snapshot(vm, "before-closing", parent_name="golden", is_current=True)
    stray = make.vm("ledger-stray", segment=ledger, host=north, missing_since=now)
    make.nic(stray, "payroll-net", foreign_segment=payroll)
    make.vms(3, segment=ledger, host=north)
    person = make.user("otto", password=PASSWORD, full_name="Otto Lindqvist")
    make.grant(person, "administrator")
    team = make.team("Accounting", leads=[person])
    make.grant(team, "owner", ledger)
    busy = make.vm("ledger-busy", segment=ledger, host=north)
    live, done, patch = three_jobs(vm, busy, person)
    drain, preview = work_on_hosts(north, south, vm, busy, live, person)
    advice, placement = work_on_clusters(cluster, [north, south], ledger, person)
    return {
        "drain": drain, "preview": preview, "advice": advice,
        "placement": placement, "resting": make.host("resting-1", availability="maintenance"),
        "vm": vm, "stray": stray, "busy": busy, "live": live, "done": done, "patch": patch,
        "host": north, "segment": ledger, "team": team,
    }  # fmt: skip


def addresses(estate: dict[str, Any]) -> list[str]:
    """Every page that can be looked at."""
    vm, segment, team = estate["vm"].pk, estate["segment"].pk, estate["team"].pk
    return [
        reverse("dashboard"),
        reverse("vm-list"),
        reverse("vm-list") + "?q=nothing-of-that-name",
        reverse("vm-detail", args=[vm]),
        reverse("vm-detail", args=[estate["stray"].pk]),
        reverse("vm-detail", args=[estate["busy"].pk]),
        reverse("vm-patch", args=[vm]),
        reverse("vm-migrate", args=[vm]),
        reverse("vm-power", args=[vm, "force_off"]),
        reverse("vm-segment", args=[vm]),
        reverse("vm-migration", args=[vm]),
        reverse("vm-access", args=[vm]),
        reverse("vm-ask", args=[vm]),
        reverse("vm-definition", args=[vm]),
        reverse("vm-definition", args=[estate["stray"].pk]),
        reverse("vm-definition-approve", args=[vm]),
        reverse("vm-definition-restore", args=[vm]),
        reverse("vm-changes-acknowledge", args=[vm]),
        reverse("approvals"),
        reverse("job-list"),
        reverse("job-detail", args=[estate["live"].pk]),
        reverse("job-detail", args=[estate["done"].pk]),
        reverse("job-detail", args=[estate["patch"].pk]),
        reverse("job-cancel", args=[estate["live"].pk]),
        reverse("host-list"),
        reverse("host-new"),
        reverse("host-detail", args=[estate["host"].pk]),
        reverse("segment-list"),
        reverse("segment-detail", args=[segment]),
        reverse("segment-grant", args=[segment]),
        reverse("segment-approvals", args=[segment]),
        reverse("segment-alarms", args=[segment]),
        reverse("segment-migration", args=[segment]),
        reverse("segment-baseline", args=[segment]),
        reverse("team-list"),
        reverse("team-detail", args=[team]),
        reverse("my-access"),
        reverse("holds"),
        reverse("hold-place"),
        *addresses_of_snapshots(estate),
        *addresses_of_work(estate),
    ]


def addresses_of_snapshots(estate: dict[str, Any]) -> list[str]:
    """The pages about a VM's snapshots."""
    vm, later = estate["vm"].pk, estate["vm"].snapshots.get(name="before-closing").pk
    return [
        reverse("vm-snapshot", args=[vm]),
        reverse("vm-installed", args=[estate["stray"].pk]),
        *(reverse(name, args=[vm, later]) for name in ("vm-revert", "vm-snapshot-delete", "vm-snapshot-expiry")),
    ]


OF_CLUSTERS = ("cluster-detail", "cluster-rebalance", "cluster-balancing", "placement-rule-new")


def addresses_of_work(estate: dict[str, Any]) -> list[str]:
    """The pages of migrations, and of work on hosts and clusters."""
    return [
        reverse("job-detail", args=[estate["drain"].pk]),
        reverse("job-detail", args=[estate["preview"].pk]),
        reverse("job-control", args=[estate["live"].pk, "force-completion"]),
        reverse("job-control", args=[estate["live"].pk, "set-bandwidth"]),
        reverse("host-drain", args=[estate["host"].pk]),
        reverse("host-activate", args=[estate["resting"].pk]),
        reverse("host-prove", args=[estate["host"].pk]),
        reverse("host-reserve", args=[estate["host"].pk]),
        reverse("job-detail", args=[estate["advice"].pk]),
        *(reverse(name, args=[estate["host"].cluster.pk]) for name in OF_CLUSTERS),
        reverse("placement-rule-lift", args=[estate["host"].cluster.pk, estate["placement"].pk]),
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_page_is_accessible_fits_and_keeps_to_the_policy(
    visit: Any, estate: dict[str, Any], width: int, scheme: str
) -> None:
    visitor: Visitor = visit(width=width, scheme=scheme)
    visitor.goto("/sign-in/")
    found = visitor.violations()
    visitor.sign_in("otto", PASSWORD)
    for address in addresses(estate):
        assert visitor.goto(address).status == 200, address
        found += visitor.violations()
        assert visitor.overflow() <= 0, address
    assert found == []
    assert visitor.complaints == []


def test_a_running_migration_is_changed_in_a_dialog_from_its_live_page(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("job-detail", args=[estate["live"].pk]))
    page = visitor.page
    page.get_by_role("link", name="Complete now").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Complete now")).to_be_visible()
    dialog.get_by_role("button", name="Complete now").click()
    expect(page.get_by_text("otto: Complete now, waits for the worker")).to_be_visible()
    assert estate["live"].controls.get(verb="force_completion").requester_name == "otto"
    assert visitor.complaints == []


def test_a_host_is_drained_from_its_page(visit: Any, estate: dict[str, Any]) -> None:
    host = make.host("east-1", cluster=estate["host"].cluster)
    vm = make.vm("ledger-east", segment=estate["segment"], host=host)
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("host-detail", args=[host.pk]))
    page = visitor.page
    page.get_by_role("link", name="Drain", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name="ledger-east")).to_contain_text("north-1")
    dialog.get_by_role("button", name="Drain").click()
    page.wait_for_url("**/jobs/**")
    expect(page.get_by_role("heading", name="Drain east-1")).to_be_visible()
    block = page.get_by_role("region", name="east-1").get_by_role("listitem")
    expect(block).to_contain_text("ledger-east")
    expect(block).to_contain_text("waits")
    assert Job.objects.get(host=host).extent == [vm.pk]
    assert visitor.complaints == []


def test_a_page_that_is_not_there_is_accessible_too(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    for address in ("/nothing/", reverse("vm-detail", args=[99_999])):
        assert visitor.goto(address).status == 404
        assert visitor.violations() == []
    assert all("status of 404" in complaint for complaint in visitor.complaints)


def test_filtering_sorting_and_paging_exchange_the_list_and_keep_the_address(
    visit: Any, estate: dict[str, Any]
) -> None:
    make.vms(57, segment=estate["segment"], host=estate["host"])
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("vm-list"))
    page = visitor.page
    rows = page.locator("#results tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Next").click()
    expect(rows).to_have_count(17)
    page.fill("#id_q", "ledger-")
    expect(rows).to_have_count(7)
    expect(page.locator("#results-status")).to_have_text("7 found")
    page.get_by_role("link", name="Name").click()
    expect(rows.first).to_contain_text("ledger-stray")
    assert "q=ledger-" in page.url
    assert "sort=-name" in page.url
    page.select_option("#id_finding", "missing")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    assert visitor.complaints == []


def test_work_is_asked_for_in_a_dialog_and_followed_to_its_end(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    vm: VM = estate["vm"]
    visitor.goto(reverse("vm-detail", args=[vm.pk]))
    page = visitor.page
    page.get_by_role("link", name="Snapshot", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Take a snapshot")).to_be_visible()
    expect(dialog.get_by_label("Name")).to_be_focused()
    assert visitor.violations() == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert visitor.complaints == []

    page.get_by_role("link", name="Snapshot", exact=True).click()
    dialog.get_by_label("Name").fill("7")
    dialog.get_by_role("button", name="Take snapshot").click()
    expect(dialog.get_by_text("A snapshot's name is not a number alone.")).to_be_visible()
    dialog.get_by_label("Name").fill("by-hand")
    dialog.get_by_role("button", name="Take snapshot").click()
    expect(page.get_by_role("heading", name="Snapshot ledger-app")).to_be_visible()
    job = Job.objects.get(operation="snapshot.create")
    assert page.url.endswith(reverse("job-detail", args=[job.pk]))

    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, phase="saving", percent=10, progress={"phase": "saving"})
    expect(page.locator("[aria-current=step]")).to_contain_text("Saving")
    expect(page.locator("#job-announcement")).to_have_text("Snapshot ledger-app: saving.")
    result = {"snapshot": "by-hand", "seconds": 1.25, "has_memory": True}
    Job.objects.filter(pk=job.pk).update(
        state=State.SUCCEEDED, phase="done", percent=100, result=result, started_at=now, finished_at=now
    )
    expect(page.locator("#job-head").get_by_text("Succeeded")).to_be_visible()
    expect(page.get_by_text("to take it; the guest stood still meanwhile")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel")).to_have_count(0)
    assert visitor.violations() == []
    refusals = [text for text in visitor.complaints if "400" not in text]
    assert refusals == []


def test_the_page_of_a_busy_vm_comes_back_to_life_when_the_job_is_over(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("vm-detail", args=[estate["busy"].pk]))
    page = visitor.page
    expect(page.get_by_role("button", name="Snapshot")).to_be_disabled()
    Job.objects.filter(pk=estate["live"].pk).update(percent=77)
    expect(page.locator("#busy")).to_contain_text("77 %")
    estate["live"].locks.all().delete()
    Job.objects.filter(pk=estate["live"].pk).update(state=State.SUCCEEDED, finished_at=timezone.now())
    expect(page.get_by_role("link", name="Snapshot", exact=True)).to_be_visible()
    assert visitor.complaints == []


def test_a_session_that_ends_takes_the_live_page_to_the_door_and_back(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    address = reverse("job-detail", args=[estate["live"].pk])
    visitor.goto(address)
    visitor.context.clear_cookies()
    page = visitor.page
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.fill("#id_username", "otto")
    page.fill("#id_password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"**{address}")


def test_the_keyboard_alone_suffices(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit()
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("vm-detail", args=[estate["vm"].pk]))
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent.trim()") == "Power":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Shut down")).to_be_visible()
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.type") == "submit":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Shut down ledger-app")).to_be_visible()
    assert visitor.complaints == []


def test_without_javascript_the_work_can_be_done_all_the_same(visit: Any, estate: dict[str, Any]) -> None:
    visitor: Visitor = visit(javascript=False)
    visitor.sign_in("otto", PASSWORD)
    visitor.goto(reverse("vm-list"))
    page = visitor.page
    page.fill("#id_q", "ledger-app")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="ledger-app", exact=True).click()
    page.get_by_role("link", name="Revert to before-closing").click()
    page.get_by_label("What came after the snapshot may be lost").check()
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_role("heading", name="Revert ledger-app")).to_be_visible()
    assert Job.objects.filter(operation="snapshot.revert", state=State.QUEUED).count() == 1
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
