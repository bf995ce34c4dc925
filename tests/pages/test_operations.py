"""The forms that become jobs: what they submit, what they offer, and how a refusal is shown."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import VM, Host
from jobs.models import Job
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, browser, seen


def send(client: Client, page: str, /, *arguments: Any, htmx: bool = False, **fields: Any) -> Any:
    """Fill a form in and send it, with a key of its own unless one is given."""
    address = reverse(page, args=arguments)
    return client.post(address, {"key": str(uuid4())} | fields, headers=HTMX if htmx else {})


def submitted(answer: Any) -> Job:
    """The one job there is, to which the answer leads."""
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("job-detail", args=[job.pk]))
    assert (job.state, job.requester_name) == (State.QUEUED, "mara")
    return job


def test_each_form_submits_its_operation(maintainer: Client, estate: Estate) -> None:
    vm, later = estate.vm.pk, estate.later.pk
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        (
            lambda: send(maintainer, "vm-snapshot", vm, name="mine", description="a try"),
            "snapshot.create",
            {
                "name": "mine",
                "description": "a try",
                "baseline": False,
                "replace": False,
                "longest_pause_seconds": None,
                "keep_hours": None,
            },
        ),
        (
            lambda: send(maintainer, "vm-revert", vm, later, understood="on", safety="on"),
            "snapshot.revert",
            {"snapshot": "before-closing", "safety": True},
        ),
        (lambda: send(maintainer, "vm-snapshot-delete", vm, later), "snapshot.delete", {"snapshot": "before-closing"}),
        (
            lambda: send(maintainer, "vm-patch", vm, probation_seconds="0"),
            "vm.patch",
            {"timeout_seconds": 1800, "probation_seconds": 0},
        ),
        (
            lambda: send(maintainer, "vm-migrate", vm, policy="assured", bandwidth_mib="200", copy_disks="on"),
            "vm.migrate",
            {
                "destination": estate.south.pk,
                "destination_name": "south-1",
                "policy": "assured",
                "bandwidth_mib": 200,
                "max_downtime_ms": None,
                "copy_disks": True,
            },
        ),
        (lambda: send(maintainer, "vm-power", vm, "reboot"), "vm.reboot", {"timeout_seconds": 180}),
        (
            lambda: send(maintainer, "vm-power", vm, "shutdown", timeout_seconds="30"),
            "vm.shutdown",
            {"timeout_seconds": 30},
        ),
        (lambda: send(maintainer, "vm-power", vm, "force_off"), "vm.force_off", {}),
    ]
    for act, operation, params in cases:
        job = submitted(act())
        assert (job.operation, job.params) == (operation, params)
        job.delete()


def test_a_form_sent_twice_is_one_job(maintainer: Client, estate: Estate) -> None:
    key = str(uuid4())
    first = send(maintainer, "vm-power", estate.vm.pk, "reboot", key=key)
    again = send(maintainer, "vm-power", estate.vm.pk, "reboot", key=key)
    assert submitted(first).pk == submitted(again).pk


def test_a_form_sent_again_with_other_values_asks_first(maintainer: Client, estate: Estate) -> None:
    key = str(uuid4())
    submitted(send(maintainer, "vm-snapshot", estate.vm.pk, name="one", key=key))
    answer = send(maintainer, "vm-snapshot", estate.vm.pk, name="two", key=key)
    assert (answer.status_code, "sent before, with other values" in seen(answer).text) == (409, True)
    assert answer.context["form"]["key"].value() != key
    assert Job.objects.count() == 1


def test_in_a_dialog_the_whole_page_goes_to_the_job(maintainer: Client, estate: Estate) -> None:
    opened = maintainer.get(reverse("vm-snapshot", args=[estate.vm.pk]), headers=HTMX)
    assert b"<html" not in opened.content
    answer = send(maintainer, "vm-snapshot", estate.vm.pk, htmx=True)
    assert answer["HX-Redirect"] == reverse("job-detail", args=[Job.objects.get().pk])


@pytest.mark.parametrize("htmx", [False, True])
def test_a_busy_vm_is_a_sentence_at_the_form(maintainer: Client, estate: Estate, htmx: bool) -> None:
    make.job(estate.vm, by=make.user("ben"), operation="vm.patch", state=State.RUNNING)
    answer = send(maintainer, "vm-snapshot", estate.vm.pk, name="mine", htmx=htmx)
    assert answer.status_code == 409
    assert "ledger-app is held by a running job (Patch ledger-app)" in seen(answer).text
    assert answer.context["form"]["name"].value() == "mine"
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("golden", 422, "has a snapshot “golden” already"),
        ("../etc", 400, "does not begin with '.'"),
        ("a/b", 400, "has no slash"),
        ("7", 400, "not a number alone"),
        ("x" * 101, 400, "at most 100 characters"),
    ],
)
def test_a_name_that_will_not_do(maintainer: Client, estate: Estate, name: str, status: int, sentence: str) -> None:
    answer = send(maintainer, "vm-snapshot", estate.vm.pk, name=name)
    assert (answer.status_code, sentence in seen(answer).text) == (status, True), seen(answer).text
    assert not Job.objects.exists()


def test_what_the_vm_does_not_admit(maintainer: Client, estate: Estate) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(power_state="shut_off")
    answer = send(maintainer, "vm-migrate", estate.vm.pk, policy="gentle")
    assert (answer.status_code, "only a running VM migrates live" in seen(answer).text) == (422, True)


def test_destinations_are_those_on_which_the_user_may_place_and_that_have_room(
    maintainer: Client, owner: Client, estate: Estate
) -> None:
    make.host("full", cluster=estate.cluster, memory_free_mib=100)
    make.host("resting", cluster=estate.cluster, availability="maintenance")
    make.host("elsewhere")
    address = reverse("vm-migrate", args=[estate.vm.pk])
    field = maintainer.get(address).context["form"].fields["destination"]
    assert [host.name for host in field.queryset] == ["south-1"]
    page = owner.get(address)
    assert list(page.context["form"].fields["destination"].queryset) == []
    assert "No host on which you may place VMs has room" in seen(page).text


def test_a_destination_that_was_not_offered_is_no_choice(maintainer: Client, estate: Estate) -> None:
    elsewhere = make.host("elsewhere")
    answer = send(maintainer, "vm-migrate", estate.vm.pk, policy="gentle", destination=elsewhere.pk)
    assert answer.status_code == 400
    assert "elsewhere" not in seen(answer).text
    assert not Job.objects.exists()


def test_a_right_that_went_away_meanwhile_is_a_sentence_and_is_recorded(
    maintainer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form was opened in time; between its check and the service's, the right was taken away."""
    from access.models import Grant
    from portal.pages import work

    original = work.job_submit

    def late(**arguments: Any) -> Job:
        Grant.objects.filter(cluster=estate.cluster).delete()
        return original(**arguments)

    monkeypatch.setattr(work, "job_submit", late)
    answer = send(maintainer, "vm-migrate", estate.vm.pk, policy="gentle", destination=estate.south.pk)
    assert (answer.status_code, "There is no such object." in seen(answer).text) == (404, True)
    assert AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED).detail["action"] == "place"
    assert not Job.objects.exists()


def test_reverting_says_what_is_lost_and_needs_a_tick(maintainer: Client, estate: Estate) -> None:
    page = seen(maintainer.get(reverse("vm-revert", args=[estate.vm.pk, estate.baseline.pk])))
    assert "Everything written to the VM's disks in the last" in page.text
    assert "also the 1 taken after this one" in page.text
    answer = send(maintainer, "vm-revert", estate.vm.pk, estate.baseline.pk)
    assert answer.status_code == 400
    assert not Job.objects.exists()


def test_a_baseline_is_not_deleted(maintainer: Client, estate: Estate) -> None:
    answer = send(maintainer, "vm-snapshot-delete", estate.vm.pk, estate.baseline.pk)
    assert (answer.status_code, "is the baseline of ledger-app; it is kept" in seen(answer).text) == (422, True)


def test_a_snapshot_of_another_vm_is_not_there(operator: Client, estate: Estate) -> None:
    other = make.snapshot(estate.foreign, "other")
    assert operator.get(reverse("vm-revert", args=[estate.vm.pk, other.pk])).status_code == 404
    assert operator.get(reverse("vm-revert", args=[estate.foreign.pk, other.pk])).status_code == 200


def test_there_is_no_other_switch(operator: Client, estate: Estate) -> None:
    assert operator.get(reverse("vm-power", args=[estate.vm.pk, "explode"])).status_code == 404


def test_who_may_not_is_refused_on_sending_too(viewer: Client, estate: Estate) -> None:
    assert send(viewer, "vm-power", estate.vm.pk, "force_off").status_code == 403
    assert send(viewer, "vm-power", estate.foreign.pk, "force_off").status_code == 404
    assert not Job.objects.exists()


def test_segments_offered_are_those_one_may_assign_to(owner: Client, operator: Client, estate: Estate) -> None:
    address = reverse("vm-segment", args=[estate.vm.pk])
    assert [str(s) for s in owner.get(address).context["form"].fields["segment"].queryset] == ["Ledger"]
    assert owner.post(address, {"segment": estate.payroll.pk}).status_code == 400
    assert operator.post(address, {"segment": estate.payroll.pk, "reason": "moved"}).status_code == 302
    estate.vm.refresh_from_db()
    assert estate.vm.segment == estate.payroll


def test_who_assigns_a_vm_out_of_their_sight_lands_on_the_list(owner: Client, estate: Estate) -> None:
    answer = owner.post(reverse("vm-segment", args=[estate.vm.pk]), {"segment": ""})
    assert answer["Location"] == reverse("vm-list")
    assert "ledger-app is in no segment now." in seen(owner.get(answer["Location"])).text


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("qemu+ext://h/system?command=touch%20/tmp/owned", "The transport is not one of"),
        ("test:///etc/passwd", "The transport test is not allowed"),
        ("qemu+tls://h/system?no_verify=1", "no parameters"),
        ("qemu+ssh://root:secret@h/system", "has a password"),
        ("sim://twin/", "enrolled already"),
    ],
)
def test_a_hosts_address_that_is_not_accepted(operator: Client, estate: Estate, address: str, sentence: str) -> None:
    make.host("twin", cluster=estate.cluster)
    fields = {"name": "new", "uri": address, "cluster": estate.cluster.pk}
    answer = operator.post(reverse("host-new"), fields)
    assert (answer.status_code, sentence in seen(answer).text) == (400, True), seen(answer).text
    assert not Host.objects.filter(name="new").exists()


def test_a_host_is_enrolled_and_read(operator: Client, viewer: Client, estate: Estate) -> None:
    fields = {"name": "new", "uri": "qemu+tls://kvm-9.example.net/system", "cluster": estate.cluster.pk}
    answer = operator.post(reverse("host-new"), fields)
    host = Host.objects.get(name="new")
    assert answer["Location"] == reverse("host-detail", args=[host.pk])
    read = reverse("host-read", args=[host.pk])
    assert operator.post(read).status_code == 302
    assert AuditEvent.objects.filter(action=EventAction.HOST_SYNC_REQUESTED, object_name="new").exists()
    assert viewer.post(read).status_code == 404
    assert browser().post(read)["Location"].startswith(reverse("sign-in"))
