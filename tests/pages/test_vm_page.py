"""One VM's page: facts with their age, buttons by right and state, findings, record."""

from __future__ import annotations

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.context import acting_as
from audit.events import EventAction
from audit.record import record_alone
from inventory.models import VM, Host
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, Seen, browser, seen

WORK = {"vm-snapshot", "vm-patch", "vm-migrate"}


def page(client: Client, vm: VM) -> Seen:
    answer = client.get(reverse("vm-detail", args=[vm.pk]))
    assert answer.status_code == 200
    return seen(answer)


def offered(answer: Seen, vm: VM) -> set[str]:
    """Which of the VM's forms the page links to."""
    power = {
        f"vm.{verb}": reverse("vm-power", args=[vm.pk, verb]) for verb in ("start", "shutdown", "reboot", "force_off")
    }
    forms = {name: reverse(name, args=[vm.pk]) for name in (*WORK, "vm-segment")} | power
    return {name for name, address in forms.items() if address in answer.links}


def test_buttons_are_those_of_rights_and_state(
    viewer: Client, maintainer: Client, owner: Client, operator: Client, auditor: Client, estate: Estate
) -> None:
    running = {"vm.shutdown", "vm.reboot", "vm.force_off"}
    assert offered(page(viewer, estate.vm), estate.vm) == set()
    assert offered(page(auditor, estate.vm), estate.vm) == set()
    assert offered(page(maintainer, estate.vm), estate.vm) == WORK | running
    assert offered(page(operator, estate.vm), estate.vm) == WORK | running | {"vm-segment"}
    # The owner of the segment may place VMs on no host, so there is nowhere to migrate to.
    assert offered(page(owner, estate.vm), estate.vm) == WORK - {"vm-migrate"} | running | {"vm-segment"}


def test_a_button_that_cannot_be_pressed_says_why(maintainer: Client, estate: Estate) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(power_state="shut_off")
    answer = page(maintainer, estate.vm)
    assert offered(answer, estate.vm) == {"vm-snapshot", "vm.start"}
    assert answer.disabled == ["Patch", "Migrate", "Console"]
    assert "a guest is patched while it runs" in answer.text
    assert "only a running VM migrates live" in answer.text


def test_a_host_that_is_gone_disables_everything_but_not_the_page(maintainer: Client, estate: Estate) -> None:
    Host.objects.filter(pk=estate.north.pk).update(connection="unreachable")
    VM.objects.filter(pk=estate.vm.pk).update(observed_at=timezone.now() - timedelta(minutes=12))
    answer = page(maintainer, estate.vm)
    assert offered(answer, estate.vm) == set()
    assert "The host north-1 does not answer. What is shown was seen 12 min ago" in answer.text
    assert answer.disabled == ["Snapshot", "Patch", "Migrate", "Console", "Power", "Revert", "Revert", "Delete"]


def test_a_job_that_holds_the_vm_is_shown_and_disables_the_rest(maintainer: Client, estate: Estate) -> None:
    job = make.job(
        estate.vm, by=make.user("ben"), operation="vm.reboot", state=State.RUNNING, phase="rebooting", percent=50
    )
    answer = page(maintainer, estate.vm)
    assert offered(answer, estate.vm) == set()
    assert "Reboot ledger-app rebooting 50 %" in answer.text
    assert reverse("job-detail", args=[job.pk]) in answer.links
    strip = maintainer.get(reverse("vm-busy", args=[estate.vm.pk]), headers=HTMX)
    assert b"<html" not in strip.content
    job.locks.all().delete()
    type(job).objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert maintainer.get(reverse("vm-busy", args=[estate.vm.pk]), headers=HTMX)["HX-Refresh"] == "true"


def test_snapshots_stand_as_the_tree_they_are(maintainer: Client, estate: Estate) -> None:
    make.snapshot(estate.vm, "loose", parent_name="was deleted")
    make.snapshot(estate.vm, "vanished", missing_since=timezone.now())
    answer = maintainer.get(reverse("vm-detail", args=[estate.vm.pk]))
    shape = [(node.snapshot.name, [child.snapshot.name for child in node.children]) for node in answer.context["tree"]]
    assert shape == [("golden", ["before-closing"]), ("loose", []), ("vanished", [])]
    links = seen(answer).links
    assert reverse("vm-revert", args=[estate.vm.pk, estate.baseline.pk]) in links
    assert reverse("vm-snapshot-delete", args=[estate.vm.pk, estate.baseline.pk]) not in links  # it is the baseline
    assert reverse("vm-snapshot-delete", args=[estate.vm.pk, estate.later.pk]) in links
    gone = estate.vm.snapshots.get(name="vanished")
    assert reverse("vm-revert", args=[estate.vm.pk, gone.pk]) not in links


def test_a_card_on_a_foreign_network_is_shown_and_its_segment_named_to_who_sees_it(
    viewer: Client, operator: Client, estate: Estate
) -> None:
    make.nic(estate.vm, "payroll-net", foreign_segment=estate.payroll)
    assert "payroll-net, which belongs to another segment" in page(viewer, estate.vm).text
    assert "payroll-net, which belongs to Payroll" in page(operator, estate.vm).text


def test_names_lead_only_where_the_user_may_go(viewer: Client, maintainer: Client, estate: Estate) -> None:
    host = reverse("host-detail", args=[estate.north.pk])
    assert "north-1" in page(viewer, estate.vm).text
    assert host not in page(viewer, estate.vm).links
    assert host in page(maintainer, estate.vm).links
    alone = make.user("vic")
    make.grant(alone, "viewer", estate.vm)
    segment = reverse("segment-detail", args=[estate.ledger.pk])
    assert segment not in page(browser(alone), estate.vm).links
    assert segment in page(viewer, estate.vm).links


def test_the_record_is_for_who_may_read_it(viewer: Client, auditor: Client, estate: Estate) -> None:
    with acting_as(make.user("mallory"), via="api"):
        record_alone(EventAction.VM_MOVED, target=estate.vm)
        record_alone(EventAction.VM_MOVED, target=estate.foreign)
    assert "Audit record" not in page(viewer, estate.vm).text
    shown = auditor.get(reverse("vm-detail", args=[estate.vm.pk]))
    assert "VM seen on another host" in seen(shown).text
    assert [event.object_name for event in shown.context["events"]] == ["ledger-app"]


def test_a_vm_on_two_hosts_and_one_on_none_say_so(viewer: Client, estate: Estate) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(is_split=True)
    assert "Two hosts say that they run this VM." in page(viewer, estate.vm).text
    VM.objects.filter(pk=estate.vm.pk).update(is_split=False, split_at=timezone.now())
    assert "until somebody who may approve has taken note" in page(viewer, estate.vm).text
    VM.objects.filter(pk=estate.vm.pk).update(split_at=None, missing_since=timezone.now())
    assert "No host shows this VM since" in page(viewer, estate.vm).text
