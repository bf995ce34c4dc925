"""Draining and activating a host in the portal: the plan before, what is shown while it runs and after, and to whom."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.models import VM, ApprovalRule, Host, Leftover
from inventory.paths import path_between, path_observed
from jobs.models import Job
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen

pytestmark = pytest.mark.django_db


def drain(client: Client, host: Host, **fields: Any) -> Any:
    form = {"key": str(uuid4()), "policy": "gentle", "unmovable": "refuse"} | fields
    return client.post(reverse("host-drain", args=[host.pk]), form)


def host_job(host: Host, **facts: Any) -> Job:
    known: dict[str, Any] = {"target_name": host.name, "requester_name": "otto", "state": State.WAITING}
    return Job.objects.create(operation="host.drain", host=host, **known | facts)


def segments_of(*vms: VM) -> dict[str, int | None]:
    """As a job journals what it is about."""
    return {str(vm.pk): vm.segment_id for vm in vms}


def test_the_form_shows_where_each_vm_would_go_and_what_cannot(operator: Client, estate: Estate) -> None:
    make.vm("ledger-large", segment=estate.ledger, host=estate.north, memory_mib=60_000)
    make.vm("ledger-off", segment=estate.ledger, host=estate.north, running=False)
    page = seen(operator.get(reverse("host-drain", args=[estate.north.pk])))
    assert "ledger-app 512 MiB south-1" in page.text
    assert "Of the hosts on which otto may place VMs, none has the 60256 MiB that ledger-large needs." in page.text
    assert "1 VM that is switched off stays defined here" in page.text


def test_a_drain_that_cannot_be_whole_is_refused_at_the_form_with_the_reason(operator: Client, estate: Estate) -> None:
    make.vm("ledger-large", segment=estate.ledger, host=estate.north, memory_mib=60_000)
    answer = drain(operator, estate.north)
    assert (answer.status_code, "north-1 would not become empty" in seen(answer).text) == (422, True)
    assert not Job.objects.exists()
    answer = drain(operator, estate.north, unmovable="leave")
    assert answer.status_code == 302
    assert Job.objects.get().params["unmovable"] == "leave"


def test_it_says_that_a_second_person_is_needed_and_the_approver_what_it_touches(
    operator: Client, estate: Estate
) -> None:
    ApprovalRule.objects.create(segment=estate.ledger, operation="host.drain")
    page = seen(operator.get(reverse("host-drain", args=[estate.north.pk])))
    assert "This needs somebody else's approval" in page.text
    assert drain(operator, estate.north).status_code == 302
    job = Job.objects.get()
    assert job.state == State.AWAITING_APPROVAL
    second = browser(make.user_with("platform-operator"))
    assert "ledger-app (Ledger)" in seen(second.get(reverse("job-approve", args=[job.pk]))).text
    # Who may approve on the host alone sees neither the VM nor a button, and is refused.
    keeper = browser(make.user_with("platform-operator", estate.cluster))
    assert keeper.get(reverse("job-approve", args=[job.pk])).status_code == 403
    assert reverse("job-approve", args=[job.pk]) not in seen(keeper.get(reverse("approvals"))).links
    assert reverse("job-approve", args=[job.pk]) in seen(second.get(reverse("approvals"))).links
    assert second.post(reverse("job-approve", args=[job.pk]), {"note": ""}).status_code == 302
    job.refresh_from_db()
    assert job.state == State.QUEUED


def test_the_job_shows_each_vm_on_its_host(operator: Client, estate: Estate) -> None:
    moved = make.vm("ledger-moved", segment=estate.ledger, host=estate.south)
    stays = make.vm("ledger-stays", segment=estate.ledger, host=estate.north)
    waits = make.vm("ledger-waits", segment=estate.ledger, host=estate.north)
    left = {str(stays.pk): ["device_tied", "a card cannot leave"]}
    extent = segments_of(estate.vm, moved, stays, waits)
    job = host_job(estate.north, journal={"extent": extent, "left": left}, progress={"moved": 1, "to_go": 3})
    by, to = make.user(), {"destination": estate.south.pk, "destination_name": "south-1"}
    migration: dict[str, Any] = {"by": by, "operation": "vm.migrate", "params": to, "parent": job}
    make.job(estate.vm, state=State.RUNNING, percent=34, **migration)
    make.job(moved, state=State.SUCCEEDED, result={"downtime_ms": 87}, **migration)
    answer = operator.get(reverse("job-detail", args=[job.pk]))
    north, south = answer.context["columns"]
    assert [(block.vm.name, block.look) for block in north.blocks] == [
        ("ledger-app", "leaving"), ("ledger-stays", "left"), ("ledger-waits", "waits"),
    ]  # fmt: skip
    assert [(block.vm.name, block.look) for block in south.blocks] == [
        ("ledger-app", "arriving"), ("ledger-moved", "done"),
    ]  # fmt: skip
    page = seen(answer)
    for words in ("1 done, 3 to go", "migrate, 34 %", "a card cannot leave", "87 ms of downtime"):
        assert words in page.text


def test_who_sees_the_host_and_not_its_vms_sees_how_many(estate: Estate) -> None:
    job = host_job(estate.north, journal={"extent": segments_of(estate.vm, estate.foreign)})
    keeper = browser(make.user_with("platform-operator", estate.cluster))
    page = seen(keeper.get(reverse("job-detail", args=[job.pk])))
    assert "2 VMs that you do not see are not shown" in page.text
    assert "ledger-app" not in page.text
    assert "payroll-secret" not in page.text


def test_the_live_part_changes_when_a_part_gets_on(operator: Client, estate: Estate) -> None:
    job = host_job(estate.north, journal={"extent": segments_of(estate.vm)})
    part = make.job(
        estate.vm, by=make.user(), operation="vm.migrate", state=State.RUNNING, parent=job,
        params={"destination": estate.south.pk},
    )  # fmt: skip
    mark = operator.get(reverse("job-detail", args=[job.pk])).context["seen"]
    live = reverse("job-live", args=[job.pk])
    assert operator.get(live, {"seen": mark}).status_code == 204
    Job.objects.filter(pk=part.pk).update(percent=50)
    assert operator.get(live, {"seen": mark}).status_code == 200


def test_a_host_offers_what_its_state_allows(operator: Client, maintainer: Client, estate: Estate) -> None:
    page, links = reverse("host-detail", args=[estate.north.pk]), {}
    for availability in Host.Availability.values:
        Host.objects.filter(pk=estate.north.pk).update(availability=availability)
        found = seen(operator.get(page)).links
        links[availability] = [
            name for name in ("drain", "activate") if reverse(f"host-{name}", args=[estate.north.pk]) in found
        ]
    assert links["active"] == ["drain"]
    assert links["maintenance"] == ["drain", "activate"]  # a VM runs on it again
    job = host_job(estate.north)
    assert reverse("job-detail", args=[job.pk]) in seen(operator.get(page)).links
    assert not any("drain" in link or "activate" in link for link in seen(maintainer.get(page)).links)


def test_activating_names_who_comes_home(operator: Client, estate: Estate) -> None:
    since = timezone.now()
    Host.objects.filter(pk=estate.south.pk).update(availability=Host.Availability.MAINTENANCE, unavailable_since=since)
    before = host_job(estate.south, state=State.SUCCEEDED, finished_at=timezone.now())
    make.job(
        estate.vm, by=make.user(), operation="vm.migrate", state=State.SUCCEEDED, parent=before,
        params={"destination": estate.north.pk}, finished_at=timezone.now(),
    )  # fmt: skip
    address = reverse("host-activate", args=[estate.south.pk])
    assert "ledger-app, on north-1" in seen(operator.get(address)).text
    answer = operator.post(address, {"key": str(uuid4()), "policy": "gentle", "return_home": "on"})
    assert answer.status_code == 302
    job = Job.objects.get(operation="host.activate")
    assert (job.extent, job.params["return_home"]) == ([estate.vm.pk], True)


def test_an_approver_sees_of_the_list_what_they_see(operator: Client, estate: Estate) -> None:
    make.vm("payroll-here", segment=estate.payroll, host=estate.north)
    ApprovalRule.objects.create(segment=estate.ledger, operation="host.drain")
    assert drain(operator, estate.north).status_code == 302
    person = make.user_with("platform-operator", estate.cluster)
    make.grant(person, "owner", estate.ledger)
    page = seen(browser(person).get(reverse("job-approve", args=[Job.objects.get().pk])))
    assert "ledger-app (Ledger), 1 that you do not see" in page.text
    assert "payroll-here" not in page.text


def test_the_picture_has_the_hosts_that_the_onlooker_sees(operator: Client, estate: Estate) -> None:
    job = host_job(estate.north, journal={"extent": segments_of(estate.vm)})
    address = reverse("job-detail", args=[job.pk])
    person = make.user_with("viewer", estate.north)
    columns = browser(person).get(address).context["columns"]
    assert [column.host.name for column in columns] == ["north-1"]
    columns = operator.get(address).context["columns"]
    assert [column.host.name for column in columns] == ["north-1", "south-1"]


def test_a_hosts_page_tells_of_its_paths_and_the_reason_to_who_operates_it(operator: Client, estate: Estate) -> None:
    path_observed(path_between(estate.north, estate.south), ok=False, why="no route to 10.0.0.7")
    address = reverse("host-detail", args=[estate.north.pk])
    page = seen(operator.get(address))
    assert "north-1 south-1 Broken, " in page.text
    assert "no route to 10.0.0.7" in page.text
    assert "south-1 north-1 Not proved yet" in page.text
    onlooker = make.user()
    for host in (estate.north, estate.south):
        make.grant(onlooker, "viewer", host)
    page = seen(browser(onlooker).get(address))
    assert "north-1 south-1 Broken, " in page.text
    assert "10.0.0.7" not in page.text
    alone = make.user()
    make.grant(alone, "viewer", estate.north)
    assert "south-1" not in seen(browser(alone).get(address)).text


def test_the_paths_are_proved_from_the_page(operator: Client, estate: Estate) -> None:
    address = reverse("host-prove", args=[estate.north.pk])
    assert "south-1" in seen(operator.get(address)).text
    answer = operator.post(address, {"key": str(uuid4())})
    job = Job.objects.get(operation="host.prove_paths")
    assert (answer.status_code, job.host) == (302, estate.north)
    page = seen(operator.get(reverse("job-detail", args=[job.pk])))
    assert "Prove the paths of north-1" in page.text
    Host.objects.exclude(pk=estate.north.pk).update(connection=Host.Connection.UNREACHABLE)
    Job.objects.all().delete()
    answer = operator.post(address, {"key": str(uuid4())})
    assert (answer.status_code, "No other host of baltic answers" in seen(answer).text) == (422, True)


def test_who_operates_a_host_sees_what_vms_left_there_and_may_keep_it(operator: Client, estate: Estate) -> None:
    now = timezone.now()
    left = Leftover.objects.create(
        host=estate.north, vm=estate.vm, vm_name=estate.vm.name, path="/images/old.qcow2", left_at=now, remove_after=now
    )
    address = reverse("host-detail", args=[estate.north.pk])
    assert "/images/old.qcow2" in seen(operator.get(address)).text
    answer = operator.post(reverse("host-keep", args=[estate.north.pk, left.pk]))
    assert answer.status_code == 302
    left.refresh_from_db()
    assert left.remove_after is None
    assert "/images/old.qcow2 Kept" in seen(operator.get(address)).text
    hosts_only = make.user()
    make.grant(hosts_only, "platform-operator", estate.north)
    page = seen(browser(hosts_only).get(address))
    assert "/images/old.qcow2" not in page.text
    assert "And 1 of VMs that you do not see." in page.text
    assert browser(hosts_only).post(reverse("host-keep", args=[estate.north.pk, left.pk])).status_code == 404
