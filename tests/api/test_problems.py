"""Every kind of error is a problem document, and a bad request leaves nothing behind."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError

from audit.models import AuditEvent
from inventory.models import Segment
from jobs.models import Job, JobLock
from portal.api import hosts, segments
from portal.api.parsing import DEEPEST, LONGEST_BODY
from tests import factories as make
from tests.api.conftest import problem

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[1,", b"nonsense", b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"operation": NaN}', b'{"a": Infinity}',
        b'{"operation": "vm.start", "operation": "vm.force_off"}', b'{"operation": "vm.\\u0000start"}',
        b'{"operation": "\\ud800"}', b'{"\\u0000": 1}', b'{"n": ' + b"9" * 5000 + b"}",
        b"[" * 100_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"params": ' + b"[" * (DEEPEST + 5) + b"]" * (DEEPEST + 5) + b"}",
    ],
)  # fmt: skip
def test_malformed_json(estate, maintainer, body):
    answer = maintainer.send("POST", "jobs/", body)
    problem(answer, 400, "malformed" if body else "invalid")
    assert not Job.objects.exists()


@pytest.mark.parametrize("body", ["null", "[]", '"text"', "1", "true", "{}", '{"operation": null}'])
def test_json_that_is_no_request(estate, maintainer, body):
    problem(maintainer.send("POST", "jobs/", body), 400, "invalid")


def test_a_body_that_is_too_long(admin):
    answer = admin.send("POST", "segments/", json.dumps({"name": "x" * LONGEST_BODY}))
    problem(answer, 413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/xml", "application/vnd.api+json", "nonsense"])  # fmt: skip
def test_another_content_type(estate, maintainer, kind):
    problem(maintainer.send("POST", "jobs/", "a=b", kind=kind), 415, "unsupported_media_type")


def test_a_method_that_is_not_there(estate, admin):
    answer = admin.send("PUT", f"vms/{estate.vm.pk}/", "{}")
    problem(answer, 405, "method_not_allowed")
    assert answer["Allow"] == "GET, PATCH, HEAD"
    for path in ("audit-events/", "me/", f"vms/{estate.vm.pk}/snapshots/"):
        problem(admin.post(path, {}), 405, "method_not_allowed")
    problem(admin.send("OPTIONS", "jobs/", ""), 405, "method_not_allowed")


def test_an_answer_that_cannot_be_given(maintainer):
    answer = maintainer.client.get("/api/v1/vms/", headers={"Accept": "application/xml"})
    problem(answer, 406, "not_acceptable")


@pytest.mark.parametrize(
    "path",
    ["vms", "nothing/", "vms/1/nothing/", "hosts/x/", "jobs/1/", "hosts/" + "9" * 5000 + "/", "../admin/x", "%00/"],
)
def test_an_address_that_is_not_there(estate, admin, path):
    problem(admin.get(path), 404, "not_found")
    problem(admin.post(path, {}), 404, "not_found")


@pytest.mark.parametrize("key", ["0", str(2**63), str(2**200), "9" * 400])
def test_an_id_that_no_object_can_have(estate, admin, key):
    for noun in ("hosts", "vms", "segments", "clusters", "teams", "users", "grants", "roles", "audit-events"):
        problem(admin.get(f"{noun}/{key}/"), 404, "not_found")
    for kind in ("vm", "host", "cluster"):
        body = {"operation": "vm.start", "target": {kind: int(key)}}
        problem(admin.post("jobs/", body), 404, "not_found", f"target.{kind}")
    for address in (f"teams/{key}/members/", f"teams/{key}/members/1/"):
        problem(admin.delete(address) if address.endswith("1/") else admin.get(address), 404, "not_found")
    team = make.team()
    problem(admin.delete(f"teams/{team.pk}/members/{key}/"), 404, "not_found")
    problem(admin.post(f"teams/{team.pk}/members/", {"user": int(key)}), 404, "not_found", "user")
    for filters in ({"team": key}, {"vm": key}, {"user": f"-{key}"}, {"host": "1.5"}):
        assert admin.get("grants/", **filters).status_code in (200, 400)
    for path, name in (("vms/", "host"), ("vms/", "segment"), ("hosts/", "cluster"), ("jobs/", "vm")):
        assert admin.get(path, **{name: key}).json()["count"] == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"operation": "vm.fly"}, "operation"),
        ({"operation": ["vm.start"]}, "operation"),
        ({"operation": None}, "operation"),
        ({"target": None}, "target"),
        ({"target": 7}, "target"),
        ({"target": {}}, "target"),
        ({"target": {"vm": "web-1"}}, "target.vm"),
        ({"target": {"vm": True}}, "target.vm"),
        ({"target": {"vm": 1.0}}, "target.vm"),
        ({"target": {"vm": [1]}}, "target.vm"),
        ({"target": {"vm": None}}, "target.vm"),
        ({"target": {"vm": -1, "x": 1}}, "target.x"),
        ({"target": {"disk": 1}}, "target.disk"),
        ({"params": []}, "params"),
        ({"params": "name=x"}, "params"),
        ({"window": "tonight"}, "window"),
        ({"force": True}, "force"),
    ],
)
def test_a_job_request_that_is_malformed_names_the_field(estate, maintainer, change, field):
    body = {"operation": "vm.shutdown", "target": {"vm": estate.vm.pk}} | change
    problem(maintainer.post("jobs/", body), 400, "invalid", field)
    assert not Job.objects.exists()
    assert not JobLock.objects.exists()
    assert not AuditEvent.objects.filter(action__startswith="job.").exists()


def test_one_target_and_of_the_right_kind(estate, admin):
    both = {"vm": estate.vm.pk, "host": estate.north.pk}
    problem(admin.post("jobs/", {"operation": "vm.start", "target": both}), 400, "invalid", "target")
    wrong = {"host": estate.north.pk}
    problem(admin.post("jobs/", {"operation": "vm.start", "target": wrong}), 400, "invalid", "target")


def test_several_faults_are_told_at_once(admin):
    found = problem(admin.post("hosts/", {"nmae": "x"}), 400, "invalid", "nmae")
    assert [error["field"] for error in found["errors"]] == ["nmae"]
    found = problem(admin.post("hosts/", {"cluster": "x"}), 400, "invalid")
    assert {error["field"] for error in found["errors"]} == {"name", "uri", "cluster"}


def test_an_item_of_a_list_is_named_by_its_number(admin):
    body = {"name": "x", "networks": ["ok", "y" * 101]}
    problem(admin.post("segments/", body), 400, "invalid", "networks.1")


def test_a_callers_request_id_is_kept_when_it_is_plain(admin):
    plain = admin.client.get("/api/v1/vms/9/", headers={"X-Request-ID": "build-4711.a"})
    assert problem(plain, 404, "not_found")["request_id"] == "build-4711.a"
    forged = admin.client.get("/api/v1/vms/9/", headers={"X-Request-ID": "x\r\nSet-Cookie: a=b"})
    assert "Set-Cookie" not in problem(forged, 404, "not_found")["request_id"]


def test_two_who_do_the_same_at_once(admin, monkeypatch):
    """The database's own rule speaks where a check had still found nothing."""

    def late(**_facts):
        raise IntegrityError("UNIQUE constraint failed: inventory_segment.name")

    monkeypatch.setattr(segments, "segment_create", late)
    found = problem(admin.post("segments/", {"name": "x"}), 409, "conflict")
    assert "inventory_segment" not in str(found)


def test_a_bug_is_logged_and_not_explained(estate, admin, monkeypatch, caplog):
    def broken(**_facts):
        raise RuntimeError("the secret inner workings")

    monkeypatch.setattr(hosts, "host_create", broken)
    admin.client.raise_request_exception = False
    body = {"name": "x", "uri": "sim://x/", "cluster": estate.cluster.pk}
    found = problem(admin.post("hosts/", body), 500, "internal_error")
    assert "secret" not in str(found)
    assert "the secret inner workings" in caplog.text


def test_nothing_is_kept_of_a_change_that_could_not_be_recorded(admin, monkeypatch):
    from inventory.services import segments as services

    def full(*_args, **_facts):
        raise RuntimeError("disk full")

    monkeypatch.setattr(services, "record", full)
    admin.client.raise_request_exception = False
    problem(admin.post("segments/", {"name": "x"}), 500, "internal_error")
    assert not Segment.objects.exists()
