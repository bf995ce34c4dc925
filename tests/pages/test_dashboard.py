"""What needs attention, per person, and what is under way."""

from __future__ import annotations

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.models import VM, Host
from jobs.models import Job
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, seen


def found(client: Client) -> dict[str, str]:
    """The findings: sentence -> where it leads."""
    return {finding.text: finding.url for finding in client.get(reverse("dashboard")).context["findings"]}


def test_a_quiet_estate_says_so(viewer: Client, estate: Estate) -> None:
    assert found(viewer) == {}
    assert "Nothing. Every VM you see is seen by its host" in seen(viewer.get(reverse("dashboard"))).text


def test_findings_are_those_of_what_is_seen(
    viewer: Client, maintainer: Client, operator: Client, estate: Estate
) -> None:
    Host.objects.filter(pk=estate.south.pk).update(connection="unreachable", connection_error="no route to host")
    VM.objects.filter(pk=estate.vm.pk).update(is_split=True)
    VM.objects.filter(pk=estate.foreign.pk).update(missing_since=timezone.now())
    make.vm("ledger-new", segment=estate.ledger, host=estate.north)
    make.nic(estate.vm, "payroll-net", foreign_segment=estate.payroll)
    vms = reverse("vm-list")
    of_ledger = {
        "1 VM is or was run by two hosts at once.": f"{vms}?finding=split",
        "1 VM is on a network of another segment.": f"{vms}?finding=foreign_nic",
        "1 VM has no baseline to fall back to.": f"{vms}?finding=no_baseline",
    }
    of_hosts = {"Host south-1 does not answer.": reverse("host-detail", args=[estate.south.pk])}
    assert found(viewer) == of_ledger
    assert found(maintainer) == of_hosts | of_ledger
    assert found(operator) == of_hosts | of_ledger | {"1 VM is not seen on any host.": f"{vms}?finding=missing"}
    for sentence, address in found(viewer).items():
        shown = viewer.get(address).context["page_obj"].paginator.count
        assert sentence.startswith(f"{shown} VM"), sentence


def test_a_snapshot_that_nobody_put_an_end_to_is_a_finding_after_three_days(viewer: Client, estate: Estate) -> None:
    now = timezone.now()
    old, young = now - timedelta(hours=73), now - timedelta(hours=71)
    VM.objects.get(pk=estate.vm.pk).snapshots.all().update(created_at=young)
    make.snapshot(estate.vm, "ends", created_at=old, expires_at=now + timedelta(days=1))
    make.snapshot(estate.vm, "lost", created_at=old, missing_since=now)
    estate.vm.snapshots.filter(is_baseline=True).update(created_at=old)
    make.snapshot(estate.foreign, "hidden", created_at=old)
    assert found(viewer) == {}
    forgotten = make.snapshot(estate.vm, "forgotten", created_at=old)
    address = f"{reverse('vm-list')}?finding=old_snapshot"
    assert found(viewer) == {"1 VM has a snapshot older than three days, with no end set.": address}
    assert [vm.pk for vm in viewer.get(address).context["page_obj"]] == [estate.vm.pk]
    forgotten.delete()
    assert viewer.get(address).context["page_obj"].paginator.count == 0


def test_failed_jobs_are_news_for_a_day(viewer: Client, estate: Estate) -> None:
    ben = make.user("ben")
    make.job(estate.vm, by=ben, state=State.FAILED, finished_at=timezone.now() - timedelta(hours=23))
    make.job(estate.vm, by=ben, state=State.ERRORED, finished_at=timezone.now() - timedelta(hours=25))
    make.job(estate.foreign, by=ben, state=State.FAILED, finished_at=timezone.now())
    assert found(viewer) == {"1 job failed in the last 24 hours.": f"{reverse('job-list')}?state=ended_badly"}


def test_work_in_progress_is_refreshed(viewer: Client, estate: Estate) -> None:
    ben = make.user("ben")
    for number in range(10):
        vm = make.vm(f"ledger-{number}", segment=estate.ledger, host=estate.north)
        make.job(vm, by=ben, operation="vm.reboot", state=State.RUNNING)
    make.job(estate.foreign, by=ben, operation="vm.reboot", state=State.RUNNING)
    part = viewer.get(reverse("working-now"), headers=HTMX)
    assert b"<html" not in part.content
    assert "And 2 more" in seen(part).text
    assert "payroll-secret" not in seen(part).text
    Job.objects.update(state=State.SUCCEEDED, finished_at=timezone.now())
    assert "No job is under way." in seen(viewer.get(reverse("working-now"), headers=HTMX)).text


def test_how_fresh_it_is(viewer: Client, estate: Estate) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(observed_at=timezone.now() - timedelta(minutes=7))
    answer = viewer.get(reverse("dashboard"))
    assert "seen 7 min ago" in seen(answer).text
    assert b'class="nowrap stale"' in answer.content


def test_a_simulated_estate_says_that_it_is_one(viewer: Client, estate: Estate) -> None:
    assert "This estate is simulated" in seen(viewer.get(reverse("dashboard"))).text
    Host.objects.update(scheme="qemu+tls")
    assert "This estate is simulated" not in seen(viewer.get(reverse("dashboard"))).text


def test_what_a_connection_said_is_for_who_operates_the_host(
    maintainer: Client, operator: Client, estate: Estate
) -> None:
    Host.objects.filter(pk=estate.south.pk).update(connection="unreachable", connection_error="no way to 10.1.2.3")
    for page in (reverse("dashboard"), reverse("host-list"), reverse("host-detail", args=[estate.south.pk])):
        assert "10.1.2.3" in operator.get(page).content.decode(), page
        assert "south-1" in maintainer.get(page).content.decode(), page
        assert "10.1.2.3" not in maintainer.get(page).content.decode(), page
