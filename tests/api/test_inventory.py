"""Hosts, clusters and segments over the API."""

from __future__ import annotations

import pytest
from django.utils import timezone

from access.models import Effect, Grant
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import Cluster, Host, Leftover, Segment
from inventory.paths import path_between, path_observed
from jobs.models import Job
from jobs.states import State
from portal.celery import app as celery_app
from tests import factories as make
from tests.api.conftest import problem
from tests.api.outside import reaching_out

HOSTILE_URIS = [
    "qemu+ssh://node/system?command=/tmp/evil",
    "qemu+ssh://node/system?netcat=/tmp/evil",
    "qemu+ssh://node/system?socket=/run/evil",
    "qemu+tls://node/system?pkipath=/etc",
    "qemu+tls://node/system?no_verify=1",
    "qemu+ext://node/system?command=/tmp/evil",
    "qemu+ext:///system",
    "qemu+libssh2://node/system",
    "qemu+unix:///system?socket=/tmp/evil",
    "qemu+tcp://node/system",
    "qemu:///session",
    "qemu:///system?x=1",
    "test:///default",
    "test:///etc/passwd",
    "test:///tmp/evil.xml",
    "xen:///system",
    "esx://node/",
    "file:///etc/passwd",
    "/etc/passwd",
    "http://169.254.169.254/",
    "qemu+tls://169.254.169.254/system",
    "qemu+tls://[fe80::1%25eth0]/system",
    "qemu+tls://0x7f000001/system",
    "qemu+tls://2130706433/system",
    "qemu+tls://node:0/system",
    "qemu+tls://node:99999/system",
    "qemu+tls://user:secret@node/system",
    "qemu+ssh://-oProxyCommand=evil@node/system",
    "qemu+ssh://-oProxyCommand=evil/system",
    "qemu+ssh://node/system#x",
    "qemu+ssh://node/../system",
    "qemu+ssh://node/system/../../etc",
    "qemu+ssh://no de/system",
    "qemu+ssh://node`id`/system",
    "qemu+ssh://node$(id)/system",
    "qemu+ssh://node;id/system",
    "qemu+ssh://node/system\nqemu:///system",
    "QEMU+SSH://node/system",
    "qemu+ssh://nöde/system",
    "qemu+ssh://",
    "x" * 301,
    "",
]


@pytest.mark.parametrize("uri", HOSTILE_URIS)
def test_a_hostile_address_is_refused_before_anything_is_opened_or_run(estate, admin, uri):
    problem(admin.post("hosts/", {}), 400, "invalid")  # imports what any request needs, libraries in C included
    with reaching_out() as reached:
        answer = admin.post("hosts/", {"name": "evil", "uri": uri, "cluster": estate.cluster.pk})
    problem(answer, 400, "invalid", "uri")
    assert reached == []
    assert not Host.objects.filter(name="evil").exists()


def test_the_watch_for_reaching_out_sees_what_it_must(tmp_path):
    import socket
    import subprocess

    with reaching_out() as reached:
        subprocess.run(["true"], check=True)
        (tmp_path / "new").write_text("x")
        with socket.socket() as client:
            client.connect_ex(("127.0.0.1", 9))
    assert {event for event, _what in reached} >= {"subprocess.Popen", "open", "socket.connect"}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("qemu+tls://Node-1.example/system", "qemu+tls://node-1.example/system"),
        ("qemu+ssh://slipway@10.0.0.7:2222/system", "qemu+ssh://slipway@10.0.0.7:2222/system"),
        ("qemu+tls://[2001:db8::7]/system", "qemu+tls://[2001:db8::7]/system"),
        ("qemu:///system", "qemu:///system"),
    ],
)
def test_enrolling_a_host_opens_nothing_either(estate, admin, uri, shown):
    problem(admin.post("hosts/", {}), 400, "invalid")
    with reaching_out() as reached:
        answer = admin.post("hosts/", {"name": " new ", "uri": uri, "cluster": estate.cluster.pk})
    assert answer.status_code == 201, answer.json()
    found = answer.json()
    assert reached == []
    assert (found["name"], found["uri"], found["connection"]) == ("new", shown, "unknown")
    assert found["cluster"] == {"id": estate.cluster.pk, "name": "main"}
    assert admin.client.get(answer["Location"]).json() == found
    assert AuditEvent.objects.get(action=EventAction.HOST_CREATED).after == {"uri": shown, "cluster": "main"}
    again = admin.post("hosts/", {"name": "other", "uri": uri, "cluster": estate.cluster.pk})
    problem(again, 400, "invalid", "uri")


def test_enrolling_needs_the_right_on_the_cluster(estate, maintainer, call):
    body = {"name": "new", "uri": "sim://new/", "cluster": estate.cluster.pk}
    problem(maintainer.post("hosts/", body), 403, "not_allowed")
    stranger = call(make.user())
    hidden = problem(stranger.post("hosts/", body), 404, "not_found", "cluster")
    missing = problem(stranger.post("hosts/", body | {"cluster": 987654}), 404, "not_found", "cluster")
    assert hidden | {"request_id": ""} == missing | {"request_id": ""}
    operator = call(make.user_with(make.role_of("operate_host"), estate.cluster))
    assert operator.post("hosts/", body).status_code == 201
    problem(operator.post("hosts/", body | {"uri": "sim://other/"}), 400, "invalid", "name")


def test_an_address_is_for_who_operates_the_host(estate, maintainer, admin):
    Host.objects.update(connection_error="cannot connect to 10.1.2.3")
    seen = maintainer.get(f"hosts/{estate.north.pk}/")
    assert (seen.json()["uri"], seen.json()["connection_error"]) == (None, None)
    assert "sim:" not in seen.content.decode()
    assert seen.json()["allowed_actions"] == ["place", "view"]
    assert admin.get(f"hosts/{estate.north.pk}/").json()["uri"] == "sim://north/"


def test_hosts_are_listed_to_who_sees_them(estate, viewer, maintainer, call):
    far = make.host("far", cluster=make.cluster("other"), memory_free_mib=1)

    def names(caller, **query) -> list[str]:
        return [host["name"] for host in caller.get("hosts/", **query).json()["results"]]

    assert names(viewer) == []
    assert names(maintainer) == ["north", "south"]
    assert names(maintainer, search="nor") == ["north"]
    assert names(maintainer, cluster=estate.cluster.pk) == names(maintainer, cluster="main") == ["north", "south"]
    assert names(maintainer, cluster="other") == names(maintainer, connection="unreachable") == []
    make.grant(maintainer.user, "viewer", far)
    assert names(maintainer, ordering="memory_free_mib")[0] == "far"
    assert maintainer.get(f"hosts/{far.pk}/").json()["cluster"] is None
    problem(viewer.get(f"hosts/{far.pk}/"), 404, "not_found")


def test_a_list_of_hosts_costs_the_same_number_of_statements(estate, admin, django_assert_num_queries):
    for number in (10, 190):
        for _ in range(number):
            make.host(cluster=estate.cluster)
        with django_assert_num_queries(5):
            assert admin.get("hosts/", page_size=500).status_code == 200


def test_removing_a_host(estate, admin, maintainer):
    empty = make.host("empty", cluster=estate.cluster)
    problem(maintainer.delete(f"hosts/{empty.pk}/"), 403, "not_allowed")
    problem(admin.delete(f"hosts/{estate.north.pk}/"), 409, "conflict")
    assert admin.delete(f"hosts/{empty.pk}/").status_code == 204
    problem(admin.delete(f"hosts/{empty.pk}/"), 404, "not_found")
    assert AuditEvent.objects.get(action=EventAction.HOST_DELETED).object_name == "empty"


def test_the_grants_on_a_host_that_is_removed_are_told_of_one_by_one(estate, admin):
    empty, user = make.host("empty", cluster=estate.cluster), make.user("olga")
    make.grant(user, "placement", empty)
    make.grant(make.team("movers"), "viewer", empty, effect=Effect.DENY)
    elsewhere = make.grant(user, "placement", estate.north)
    assert admin.delete(f"hosts/{empty.pk}/").status_code == 204
    revoked = AuditEvent.objects.filter(action=EventAction.GRANT_REVOKED)
    assert {(event.before["holder"], event.reason) for event in revoked} == {
        ("user olga", "empty was removed."), ("team movers", "empty was removed."),
    }  # fmt: skip
    assert list(Grant.objects.filter(user=user)) == [elsewhere]


def test_a_host_goes_with_the_jobs_that_worked_on_it_once_they_are_over(estate, admin):
    empty = make.host("empty", cluster=estate.cluster)
    facts = {"operation": "host.drain", "host": empty, "target_name": "empty", "requester_name": "ada"}
    job = Job.objects.create(state=State.WAITING, **facts)
    part = make.job(estate.vm, by=admin.user, state=State.SUCCEEDED, operation="vm.migrate", parent=job)
    problem(admin.delete(f"hosts/{empty.pk}/"), 409, "conflict")
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert admin.delete(f"hosts/{empty.pk}/").status_code == 204
    assert admin.get(f"jobs/{job.pk}/").status_code == 404
    assert admin.get(f"jobs/{part.pk}/").json()["parent"] is None


def test_reading_a_host_now_goes_to_the_queue_near_it(estate, admin, maintainer, django_capture_on_commit_callbacks):
    Cluster.objects.update(queue="near-main")
    with django_capture_on_commit_callbacks(execute=True), reaching_out() as reached:
        answer = admin.post(f"hosts/{estate.north.pk}/sync/")
    assert (answer.status_code, answer.json()["name"]) == (202, "north")
    assert reached == []
    with celery_app.connection_for_read() as connection:
        message = connection.SimpleQueue("near-main").get(timeout=5)
        message.ack()
    assert message.headers["task"] == "inventory.sync"
    assert message.payload[0] == [estate.north.pk, True]
    assert AuditEvent.objects.get(action=EventAction.HOST_SYNC_REQUESTED).object_name == "north"
    problem(maintainer.post(f"hosts/{estate.north.pk}/sync/"), 403, "not_allowed")
    problem(admin.post("hosts/987654/sync/"), 404, "not_found")


def test_a_queue_that_is_down_is_no_error(estate, admin, monkeypatch, django_capture_on_commit_callbacks, caplog):
    from portal.api import hosts

    def down(**_facts):
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(hosts.sync_host, "apply_async", down)
    with django_capture_on_commit_callbacks(execute=True):
        assert admin.post(f"hosts/{estate.north.pk}/sync/").status_code == 202
    assert "no broker" in caplog.text


def test_clusters(estate, admin, maintainer, viewer):
    answer = admin.post("clusters/", {"name": "east", "shared_storage": True, "queue": "east"})
    assert answer.status_code == 201
    found = answer.json()
    assert (found["name"], found["shared_storage"], found["queue"]) == ("east", True, "east")
    assert admin.client.get(answer["Location"]).json() == found
    problem(admin.post("clusters/", {"name": "east"}), 400, "invalid", "name")
    problem(admin.post("clusters/", {"name": "x", "queue": "a b;c"}), 400, "invalid", "queue")
    problem(maintainer.post("clusters/", {"name": "x"}), 403, "not_allowed")
    assert [cluster["name"] for cluster in maintainer.get("clusters/").json()["results"]] == ["main"]
    assert viewer.get("clusters/").json()["count"] == 0


def test_what_holds_for_a_cluster_is_changed(estate, admin, maintainer):
    address = f"clusters/{estate.north.cluster_id}/"
    before = admin.get(address).json()
    assert (before["shared_storage"], before["encrypted_migrations"]) == (False, False)
    after = admin.patch(address, {"encrypted_migrations": True})
    assert after.json() == before | {"encrypted_migrations": True}
    event = AuditEvent.objects.get(action=EventAction.CLUSTER_CHANGED)
    assert (event.before["encrypted_migrations"], event.after["encrypted_migrations"]) == (False, True)
    again = admin.patch(address, {"encrypted_migrations": True})
    assert again.status_code == 200
    assert AuditEvent.objects.filter(action=EventAction.CLUSTER_CHANGED).count() == 1
    problem(maintainer.patch(address, {"shared_storage": True}), 403, "not_allowed")
    problem(admin.patch(address, {"queue": "other"}), 400, "invalid", "queue")


def test_the_paths_of_a_host_are_told_with_what_the_caller_may_know(estate, admin, maintainer, viewer, call):
    other = make.host("east", cluster=estate.north.cluster)
    path_observed(path_between(estate.north, other), ok=False, why="no route to 10.0.0.7")
    path_observed(path_between(other, estate.north), ok=True, seconds=1.5)
    address = f"hosts/{estate.north.pk}/paths/"
    found = {(path["source"]["name"], path["destination"]["name"]): path for path in admin.get(address).json()}
    assert found["north", "east"]["ok"] is False
    assert found["north", "east"]["why"] == "no route to 10.0.0.7"
    assert (found["east", "north"]["ok"], found["east", "north"]["seconds"]) == (True, 1.5)
    assert found["north", "south"]["ok"] is None
    assert [path["why"] for path in maintainer.get(address).json()] == [None] * 4
    keeper = make.user()
    for host in (estate.north, estate.south):
        make.grant(keeper, "platform-operator", host)
    seen = {(path["source"]["name"], path["destination"]["name"]) for path in call(keeper).get(address).json()}
    assert seen == {("north", "south"), ("south", "north")}
    problem(viewer.get(address), 404, "not_found")


def test_what_vms_left_on_a_host_is_listed_and_kept(estate, admin, maintainer, call):
    now = timezone.now()
    facts = {"host": estate.north, "left_at": now, "remove_after": now}
    left = Leftover.objects.create(vm=estate.vm, vm_name="web-1", path="/images/web-1.qcow2", **facts)
    Leftover.objects.create(vm=estate.vm, vm_name="web-1", path="/images/gone", removed_at=now, **facts)
    address = f"hosts/{estate.north.pk}/leftovers/"
    found = admin.get(address).json()
    assert [(one["path"], one["vm"]["name"]) for one in found["entries"]] == [("/images/web-1.qcow2", "web-1")]
    assert found["hidden"] == 0
    problem(maintainer.get(address), 403, "not_allowed")
    keeper = make.user()
    make.grant(keeper, "platform-operator", estate.north)
    assert call(keeper).get(address).json() == {"entries": [], "hidden": 1}
    problem(call(keeper).post(f"{address}{left.pk}/keep/"), 404, "not_found")
    assert admin.post(f"{address}{left.pk}/keep/").status_code == 204
    assert admin.get(address).json()["entries"][0]["remove_after"] is None
    problem(admin.post(f"{address}987654/keep/"), 404, "not_found")


def test_segments(estate, admin, maintainer):
    answer = admin.post("segments/", {"name": "mail", "description": "Mail", "networks": ["mail-net", "dmz"]})
    assert answer.status_code == 201
    assert answer.json()["networks"] == ["dmz", "mail-net"]
    assert admin.client.get(answer["Location"]).json() == answer.json()
    problem(admin.post("segments/", {"name": "other", "networks": ["web-net"]}), 400, "invalid", "networks")
    problem(admin.post("segments/", {"name": "mail"}), 400, "invalid", "name")
    assert not Segment.objects.filter(name="other").exists()
    problem(maintainer.post("segments/", {"name": "x"}), 403, "not_allowed")
    assert [segment["name"] for segment in maintainer.get("segments/").json()["results"]] == ["web"]
    assert maintainer.get("segments/", search="db").json()["count"] == 0
    problem(maintainer.get(f"segments/{estate.db.pk}/"), 404, "not_found")
