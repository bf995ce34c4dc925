"""Jobs over the API: asking, following, cancelling."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from access.models import Grant, Membership
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import VM, Host
from jobs.models import Job, JobLock, Step
from jobs.states import State
from tests import factories as make
from tests.api.conftest import problem


def test_a_job_is_accepted_and_can_be_followed(estate, maintainer):
    answer = maintainer.submit(estate.vm, name="before", description="A change")
    found = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"http://testserver/api/v1/jobs/{found['id']}/"
    assert (found["operation"], found["state"]) == ("snapshot.create", "queued")
    assert found["label"] == "Snapshot web-1"
    assert found["target"] == {"vm": estate.vm.pk, "host": None, "cluster": None, "name": "web-1"}
    assert found["requested_by"] == {"id": maintainer.user.pk, "username": "mara"}
    assert found["progress"] == {"phase": "", "percent": 0}
    assert (found["steps"], found["result"], found["error"], found["started_at"]) == ([], {}, None, None)
    assert maintainer.client.get(answer["Location"]).json() == found
    assert maintainer.get(f"vms/{estate.vm.pk}/").json()["busy_job"] == found["id"]
    event = AuditEvent.objects.get(action=EventAction.JOB_SUBMITTED)
    assert (event.actor_name, event.via, event.request_id) == ("mara", "api", answer["X-Request-ID"])
    assert Job.objects.get().request_id == answer["X-Request-ID"]


def test_the_target_may_be_named_by_its_uuid(estate, maintainer):
    body = {"operation": "vm.shutdown", "target": {"vm": str(estate.vm.uuid)}}
    assert maintainer.post("jobs/", body).json()["target"]["vm"] == estate.vm.pk


def test_what_a_worker_wrote_is_shown(estate, maintainer):
    now = timezone.now()
    job = make.job(
        estate.vm,
        by=maintainer.user,
        operation="vm.migrate",
        state=State.FAILED,
        started_at=now - timedelta(seconds=9),
        finished_at=now,
        phase="stop-and-copy",
        percent=70,
        progress={"remaining_mib": 12},
        result={"downtime_ms": 120},
        error_code="host_unreachable",
        error_message="The host went away.",
        traceback="Traceback: secret",
        journal={"xml": "<domain/>"},
    )
    Step.objects.create(
        job=job, position=1, phase="execute", name="move", title="Move", started_at=now - timedelta(seconds=2),
        finished_at=now, state=Step.State.DONE,
    )  # fmt: skip
    found = maintainer.get(f"jobs/{job.pk}/").json()
    assert found["progress"] == {"phase": "stop-and-copy", "percent": 70, "remaining_mib": 12}
    assert found["error"] == {"code": "host_unreachable", "message": "The host went away."}
    assert found["result"] == {"downtime_ms": 120}
    assert [(step["name"], step["state"], step["seconds"]) for step in found["steps"]] == [("move", "done", 2.0)]
    assert "secret" not in str(found)
    assert "<domain" not in str(found)


def test_a_lost_job_says_why(estate, maintainer):
    job = make.job(estate.vm, by=maintainer.user, state=State.LOST, error_message="The worker stopped answering.")
    error = maintainer.get(f"jobs/{job.pk}/").json()["error"]
    assert error == {"code": "lost", "message": "The worker stopped answering."}


def test_who_may_not_and_who_may_not_see(estate, viewer, maintainer):
    problem(viewer.submit(estate.vm), 403, "not_allowed")
    foreign = problem(maintainer.submit(estate.foreign), 404, "not_found", "target.vm")
    missing = maintainer.post("jobs/", {"operation": "snapshot.create", "target": {"vm": 987654}, "params": {}})
    by_uuid = maintainer.post("jobs/", {"operation": "vm.start", "target": {"vm": str(estate.foreign.uuid)}})
    assert foreign | {"request_id": ""} == problem(missing, 404, "not_found") | {"request_id": ""}
    assert foreign | {"request_id": ""} == problem(by_uuid, 404, "not_found") | {"request_id": ""}
    assert not Job.objects.exists()


def test_a_busy_vm(estate, maintainer):
    first = maintainer.submit(estate.vm).json()
    found = problem(maintainer.submit(estate.vm, "vm.migrate"), 409, "busy")
    assert "Snapshot web-1" in found["detail"]
    maintainer.post(f"jobs/{first['id']}/cancel/", {})
    assert maintainer.submit(estate.vm, "vm.migrate").status_code == 201


@pytest.mark.parametrize(
    ("operation", "params", "status", "code"),
    [
        ("vm.start", {}, 422, "wrong_power_state"),
        ("snapshot.revert", {"snapshot": "never taken"}, 422, "snapshot_not_found"),
        ("vm.migrate", {"destination": "north"}, 422, "already_there"),
        ("vm.migrate", {"destination": 987654}, 404, "not_found"),
        ("vm.migrate", {"destination": "nowhere"}, 404, "not_found"),
        ("vm.migrate", {"destination": True}, 400, "invalid"),
        ("vm.migrate", {"policy": "reckless"}, 400, "invalid"),
        ("snapshot.create", {"nmae": "x"}, 400, "invalid"),
        ("snapshot.create", {"name": "../../etc/passwd"}, 400, "invalid"),
        ("snapshot.create", {"name": "-rf"}, 400, "invalid"),
    ],
)
def test_what_is_not_admitted_or_malformed(estate, maintainer, operation, params, status, code):
    problem(maintainer.submit(estate.vm, operation, **params), status, code)
    assert not Job.objects.exists()
    assert not JobLock.objects.exists()


def test_a_hidden_destination_is_no_destination(estate, maintainer):
    far = make.host("far", cluster=make.cluster("other"))
    hidden = problem(maintainer.submit(estate.vm, "vm.migrate", destination=far.pk), 404, "not_found")
    missing = problem(maintainer.submit(estate.vm, "vm.migrate", destination=987654), 404, "not_found")
    assert hidden | {"request_id": ""} == missing | {"request_id": ""}
    Grant.objects.filter(user=maintainer.user, role__slug="placement").delete()
    make.grant(maintainer.user, "viewer", estate.cluster)
    problem(maintainer.submit(estate.vm, "vm.migrate", destination="south"), 403, "not_allowed")


def test_a_host_that_does_not_answer(estate, maintainer):
    Host.objects.update(connection=Host.Connection.UNREACHABLE)
    problem(maintainer.submit(estate.vm), 422, "host_offline")


def test_a_window_is_refused_until_there_are_windows(estate, maintainer):
    body = {"operation": "vm.shutdown", "target": {"vm": estate.vm.pk}, "window": 1}
    problem(maintainer.post("jobs/", body), 422, "windows_not_available")
    assert maintainer.post("jobs/", body | {"window": None}).status_code == 201


def test_cancelling(estate, maintainer, viewer, call):
    job = maintainer.submit(estate.vm).json()
    address = f"jobs/{job['id']}/cancel/"
    problem(viewer.post(address, {}), 403, "not_allowed")
    problem(call(make.user_with("maintainer", estate.db)).post(address, {}), 404, "not_found")
    answer = maintainer.post(address, {"reason": "not today"})
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["error"]["code"] == "cancelled"
    assert AuditEvent.objects.get(action=EventAction.JOB_CANCELLED).reason == "not today"
    problem(maintainer.post(address, {}), 409, "invalid_transition")
    problem(maintainer.post(f"jobs/{uuid.uuid4()}/cancel/", {}), 404, "not_found")


def test_cancelling_a_running_job_asks_its_worker(estate, maintainer):
    job = make.job(estate.vm, by=maintainer.user, state=State.RUNNING)
    for _ in range(2):  # asking twice is no error
        answer = maintainer.post(f"jobs/{job.pk}/cancel/")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    assert answer.json()["cancel_requested_at"] is not None


def test_lists_are_narrowed_and_tell_nothing_of_hidden_vms(estate, maintainer, admin):
    own = make.job(estate.vm, by=maintainer.user, operation="vm.start", state=State.SUCCEEDED)
    make.job(estate.vm, by=maintainer.user, operation="vm.patch", state=State.FAILED)
    foreign = make.job(estate.foreign, by=admin.user, operation="vm.start", state=State.SUCCEEDED)

    def found(**query) -> set[str]:
        return {job["operation"] for job in maintainer.get("jobs/", **query).json()["results"]}

    assert found() == {"vm.start", "vm.patch"}
    assert found(state="failed") == {"vm.patch"}
    assert found(operation="vm.start") == {"vm.start"}
    assert found(vm=estate.vm.pk) == found(vm=str(estate.vm.uuid)) == {"vm.start", "vm.patch"}
    assert found(vm=estate.foreign.pk) == found(vm=987654) == found(vm="x") == set()
    assert admin.get("jobs/").json()["count"] == 3
    hidden = problem(maintainer.get(f"jobs/{foreign.pk}/"), 404, "not_found")
    missing = problem(maintainer.get(f"jobs/{uuid.uuid4()}/"), 404, "not_found")
    assert {**hidden, "request_id": "", "instance": ""} == {**missing, "request_id": "", "instance": ""}
    assert maintainer.get(f"jobs/{own.pk}/").status_code == 200
    problem(maintainer.get("jobs/", state="dancing"), 400, "invalid", "state")


def test_the_newest_first(estate, maintainer):
    for number in range(3):
        make.job(estate.vm, by=maintainer.user, state=State.SUCCEEDED, target_name=f"job {number}")
    shown = [job["target"]["name"] for job in maintainer.get("jobs/").json()["results"]]
    assert shown == ["job 2", "job 1", "job 0"]


def test_a_list_of_jobs_costs_the_same_number_of_statements(estate, maintainer, django_assert_num_queries):
    for number in (10, 190):
        for _ in range(number):
            make.job(estate.vm, by=maintainer.user, state=State.SUCCEEDED)
        with django_assert_num_queries(3):  # token, count, rows
            assert maintainer.get("jobs/", page_size=500).status_code == 200


def test_access_that_ended_or_was_taken_is_gone_at_once(estate, call):
    user = make.user()
    team = make.team("web team", members=[user])
    caller = call(user)
    address = f"vms/{estate.vm.pk}/"
    grant = make.grant(team, "maintainer", estate.web, expires_at=timezone.now() + timedelta(hours=1))
    job = caller.submit(estate.vm).json()
    for take, give in (
        (lambda: _end(grant, timezone.now() - timedelta(seconds=1)), lambda: _end(grant, None)),
        (
            lambda: Membership.objects.filter(user=user).delete(),
            lambda: Membership.objects.create(team=team, user=user),
        ),
        (
            lambda: VM.objects.filter(pk=estate.vm.pk).update(segment=estate.db),
            lambda: VM.objects.filter(pk=estate.vm.pk).update(segment=estate.web),
        ),
        (grant.delete, lambda: None),
    ):
        assert caller.get(address).status_code == 200
        take()
        problem(caller.get(address), 404, "not_found")
        problem(caller.get(f"jobs/{job['id']}/"), 404, "not_found")
        problem(caller.submit(estate.vm, "vm.shutdown"), 404, "not_found")
        assert caller.get("vms/").json()["count"] == caller.get("jobs/").json()["count"] == 0
        give()


def _end(grant: Grant, when) -> None:
    """Bring a grant and its rows to another end, as time does."""
    from access.services.grants import write_rows

    grant.expires_at = when
    grant.save()
    write_rows(grant)
