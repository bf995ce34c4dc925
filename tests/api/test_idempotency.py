"""The Idempotency-Key: a request that is sent again, even at the same moment, makes one job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from jobs import services
from jobs.models import Job
from tests import factories as make
from tests.api.conftest import Caller, problem


def body(vm, **params):
    """A request for a snapshot."""
    return {"operation": "snapshot.create", "target": {"vm": vm.pk}, "params": params}


def test_the_same_request_again_gives_the_same_job(estate, maintainer):
    first = maintainer.post("jobs/", body(estate.vm, name="one"), idempotency_key="k-1")
    again = maintainer.post("jobs/", body(estate.vm, name="one"), idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert "Idempotent-Replay" not in first
    assert again["Idempotent-Replay"] == "true"
    assert again.json() == first.json()
    assert again["Location"] == first["Location"]
    assert Job.objects.count() == 1


def test_it_is_still_the_same_job_when_that_is_over(estate, maintainer):
    first = maintainer.post("jobs/", body(estate.vm), idempotency_key="k").json()
    maintainer.post(f"jobs/{first['id']}/cancel/", {})
    again = maintainer.post("jobs/", body(estate.vm), idempotency_key="k").json()
    assert (again["id"], again["state"]) == (first["id"], "cancelled")


@pytest.mark.parametrize(
    "other",
    [
        lambda estate: body(estate.vm, name="two"),
        lambda estate: body(make.vm("web-2", segment=estate.web, host=estate.north), name="one"),
        lambda estate: {**body(estate.vm), "operation": "vm.shutdown"},
    ],
)
def test_another_request_with_the_same_key_is_refused(estate, maintainer, other):
    maintainer.post("jobs/", body(estate.vm, name="one"), idempotency_key="k")
    answer = maintainer.post("jobs/", other(estate), idempotency_key="k")
    problem(answer, 409, "idempotency_mismatch")
    assert Job.objects.count() == 1


def test_keys_are_each_callers_own(estate, maintainer, call):
    other = call(make.user_with("maintainer", estate.web))
    first = maintainer.post("jobs/", body(estate.vm), idempotency_key="k").json()
    problem(other.post("jobs/", body(estate.vm), idempotency_key="k"), 409, "busy")
    maintainer.post(f"jobs/{first['id']}/cancel/", {})
    assert other.post("jobs/", body(estate.vm), idempotency_key="k").json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "schlüssel", "a\tb", "\x7f"])
def test_a_key_that_is_none_is_refused(estate, maintainer, key):
    answer = maintainer.post("jobs/", body(estate.vm), idempotency_key=key)
    problem(answer, 400, "invalid", "Idempotency-Key")
    assert not Job.objects.exists()


def test_a_longest_key_with_every_sign(estate, maintainer):
    key = "".join(chr(code) for code in range(33, 127)) + "x" * 106
    assert len(key) == 200
    assert maintainer.post("jobs/", body(estate.vm), idempotency_key=key).status_code == 201
    assert Job.objects.get().idempotency_key == key


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", ["twice", None])
def test_two_at_the_same_moment_make_one_job(estate, maintainer, key):
    """With a key both get the job; without, one gets it and the other is told that the VM is busy."""
    token = make.token(maintainer.user)
    start = Barrier(4)

    def post():
        caller = Caller(token=token)
        headers = {"idempotency_key": key} if key else {}
        start.wait(timeout=30)
        try:
            answer = caller.post("jobs/", body(estate.vm, name="one"), **headers)
            return answer.status_code, answer.json().get("id"), answer.get("Idempotent-Replay")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result(timeout=60) for future in [pool.submit(post) for _ in range(4)]]
    job = Job.objects.get()
    statuses = sorted(status for status, _id, _replay in answers)
    if key:
        assert statuses == [201, 201, 201, 201]
        assert {found for _status, found, _replay in answers} == {str(job.pk)}
        assert sorted(str(replay) for _status, _id, replay in answers) == ["None", "true", "true", "true"]
    else:
        assert statuses == [201, 409, 409, 409]


def test_a_request_committed_between_look_and_insert_is_found_after_all(estate, maintainer, monkeypatch):
    """What two processes on PostgreSQL can meet: the first look finds nothing, the unique key then does."""
    first = maintainer.post("jobs/", body(estate.vm), idempotency_key="k").json()
    look, looks = services._earlier, []

    def blind_at_first(*args):
        looks.append(args)
        return None if len(looks) == 1 else look(*args)

    monkeypatch.setattr(services, "_earlier", blind_at_first)
    again = maintainer.post("jobs/", body(estate.vm), idempotency_key="k")
    assert (again.status_code, again.json()["id"], again["Idempotent-Replay"]) == (201, first["id"], "true")
    assert len(looks) == 2
