"""VMs over the API: what is shown of them, to whom, and how lists are narrowed."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from access.actions import Action
from access.models import Effect
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import VM
from jobs.operations.registry import OPERATIONS
from tests import factories as make
from tests.api.conftest import problem

HOSTILE = "<domain type='kvm'>&amp;$(reboot)`id`'\";--\u202e]]>"


def names(answer) -> list[str]:
    """The names in a list, in its order."""
    assert answer.status_code == 200, answer.json()
    return [found["name"] for found in answer.json()["results"]]


def test_a_member_sees_the_vms_of_the_own_segment_and_no_others(estate, maintainer):
    answer = maintainer.get("vms/").json()
    assert (answer["count"], answer["next"], answer["previous"]) == (1, None, None)
    (found,) = answer["results"]
    assert found == maintainer.get(f"vms/{estate.vm.pk}/").json()
    assert (found["id"], found["uuid"], found["name"]) == (estate.vm.pk, str(estate.vm.uuid), "web-1")
    assert found["host"] == {"id": estate.north.pk, "name": "north"}
    assert found["segment"] == {"id": estate.web.pk, "name": "web"}
    assert (found["power_state"], found["memory_mib"], found["vcpus"]) == ("running", 512, 1)
    assert found["observed_at"].endswith("Z")
    assert (found["busy_job"], found["baseline"], found["findings"]) == (None, None, [])
    assert found["allowed_actions"] == sorted(make.role("maintainer").actions)


def test_a_vm_is_found_by_its_uuid_too(estate, maintainer):
    by_uuid = maintainer.get(f"vms/{estate.vm.uuid}/")
    assert by_uuid.json()["id"] == estate.vm.pk
    make.snapshot(estate.vm, "one")
    assert names(maintainer.get(f"vms/{estate.vm.uuid}/snapshots/")) == ["one"]
    problem(maintainer.get(f"vms/{estate.foreign.uuid}/"), 404, "not_found")
    problem(maintainer.get(f"vms/{uuid.uuid4()}/"), 404, "not_found")


def test_a_host_is_shown_only_to_who_sees_it(estate, viewer):
    assert viewer.get(f"vms/{estate.vm.pk}/").json()["host"] is None
    make.grant(viewer.user, "viewer", estate.north)
    assert viewer.get(f"vms/{estate.vm.pk}/").json()["host"] == {"id": estate.north.pk, "name": "north"}


def test_a_segment_is_shown_only_to_who_sees_it(estate, call):
    caller = call(make.user_with("viewer", estate.vm))
    assert caller.get(f"vms/{estate.vm.pk}/").json()["segment"] is None


def test_what_a_person_should_look_at(estate, maintainer):
    make.snapshot(estate.vm, "installed", baseline=True)
    make.nic(estate.vm, "db-net", mac="52:54:00:00:00:09", foreign_segment=estate.db)
    make.nic(estate.vm, "web-net", mac="52:54:00:00:00:0a")
    VM.objects.filter(pk=estate.vm.pk).update(is_split=True, missing_since=timezone.now())
    job = make.job(estate.vm, by=maintainer.user)
    found = maintainer.get(f"vms/{estate.vm.pk}/").json()
    assert found["baseline"]["name"] == "installed"
    assert [finding["code"] for finding in found["findings"]] == ["split_brain", "missing", "foreign_network"]
    assert "52:54:00:00:00:09" in found["findings"][2]["detail"]
    assert "“db”" not in str(found)
    assert [nic["is_foreign"] for nic in found["nics"]] == [True, False]
    assert found["busy_job"] == str(job.pk)
    VM.objects.filter(pk=estate.vm.pk).update(is_split=False, split_at=timezone.now(), missing_since=None)
    found = maintainer.get(f"vms/{estate.vm.pk}/").json()
    assert "taken note" in found["findings"][0]["detail"]


def test_filters(estate, maintainer):
    off = make.vm("web-2", segment=estate.web, host=estate.south, running=False, memory_mib=128, title="The Archive")
    for query, expected in (
        ({"power_state": "shut_off"}, ["web-2"]),
        ({"power_state": ["shut_off", "running"]}, ["web-1", "web-2"]),
        ({"host": estate.north.pk}, ["web-1"]),
        ({"host": "south"}, ["web-2"]),
        ({"segment": estate.web.pk}, ["web-1", "web-2"]),
        ({"segment": "web"}, ["web-1", "web-2"]),
        ({"segment": "none"}, []),
        ({"search": "archive"}, ["web-2"]),
        ({"search": "EB-1"}, ["web-1"]),
        ({"search": str(off.uuid)[:13]}, ["web-2"]),
        ({"search": "100%_"}, []),
        ({"ordering": "memory_mib"}, ["web-2", "web-1"]),
        ({"ordering": "-name"}, ["web-2", "web-1"]),
    ):
        assert names(maintainer.get("vms/", **query)) == expected, query


def test_filters_do_not_tell_of_what_is_hidden(estate, maintainer, viewer):
    for query in (
        {"search": "db-1"},
        {"search": str(estate.foreign.uuid)},
        {"segment": estate.db.pk},
        {"segment": "db"},
    ):
        assert maintainer.get("vms/", **query).json()["count"] == 0, query
    # The viewer sees web-1, but not that it is on north.
    assert viewer.get("vms/", host=estate.north.pk).json() == viewer.get("vms/", host=987654).json()
    assert names(viewer.get("vms/", host="north")) == []
    # Nor, with a grant on the VM alone, which segment it is in.
    only_vm = type(viewer)(make.user_with("viewer", estate.vm))
    assert names(only_vm.get("vms/", segment=estate.web.pk)) == []


@pytest.mark.parametrize(
    "query",
    [
        {"segmnet": "1"},
        {"power_state": "flying"},
        {"ordering": "host"},
        {"ordering": "host__name"},
        {"ordering": "segment__grants__reason"},
        {"search": "a\x00b"},
    ],
)
def test_a_parameter_that_is_not_there_is_refused_and_does_not_widen_the_list(maintainer, query):
    problem(maintainer.get("vms/", **query), 400, "invalid", next(iter(query)))


def test_pages(estate, maintainer):
    make.vms(120, segment=estate.web, host=estate.north)
    first = maintainer.get("vms/").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (121, 50, None)
    assert first["next"] == "http://testserver/api/v1/vms/?page=2"
    seen = []
    address = "http://testserver/api/v1/vms/?page_size=50&ordering=power_state"
    while address:
        page = maintainer.client.get(address.removeprefix("http://testserver")).json()
        seen += [found["id"] for found in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 121
    assert len(maintainer.get("vms/", page_size=500).json()["results"]) == 121
    problem(maintainer.get("vms/", page=9), 404, "not_found")
    problem(maintainer.get("vms/", page="x"), 404, "not_found")


def test_a_page_has_at_most_500(estate, admin):
    make.vms(505, segment=estate.web, host=estate.north)
    assert len(admin.get("vms/", page_size=10_000).json()["results"]) == 500


def test_a_list_costs_the_same_number_of_statements_however_long(estate, maintainer, django_assert_num_queries):
    def statements() -> int:
        with django_assert_num_queries(9):
            answer = maintainer.get("vms/", page_size=500).json()
        return answer["count"]

    for vm in make.vms(9, segment=estate.web, host=estate.north):
        make.nic(vm, "web-net")
        make.snapshot(vm, baseline=True)
        make.job(vm, by=maintainer.user)
    assert statements() == 10
    for vm in make.vms(190, segment=estate.web, host=estate.south):
        make.nic(vm, "db-net", foreign_segment=estate.db)
        make.snapshot(vm, baseline=True)
        make.job(vm, by=maintainer.user)
    assert statements() == 200


def test_hostile_names_are_shown_literally(estate, maintainer):
    vm = make.vm(HOSTILE, segment=estate.web, host=estate.north, title=HOSTILE)
    make.snapshot(vm, HOSTILE, description=HOSTILE)
    found = maintainer.get(f"vms/{vm.pk}/").json()
    assert (found["name"], found["title"]) == (HOSTILE, HOSTILE)
    assert names(maintainer.get("vms/", search=HOSTILE[:20])) == [HOSTILE]
    assert names(maintainer.get(f"vms/{vm.pk}/snapshots/")) == [HOSTILE]
    job = maintainer.submit(vm, description=HOSTILE)
    assert job.json()["target"]["name"] == HOSTILE
    assert job.json()["params"]["description"] == HOSTILE


def test_snapshots_the_oldest_first(estate, maintainer):
    now = timezone.now()
    make.snapshot(estate.vm, "later", created_at=now)
    make.snapshot(estate.vm, "earlier", created_at=now - timedelta(hours=1), baseline=True, created_by=maintainer.user)
    make.snapshot(estate.foreign, "foreign")
    answer = maintainer.get(f"vms/{estate.vm.pk}/snapshots/")
    assert names(answer) == ["earlier", "later"]
    found = answer.json()["results"][0]
    assert (found["is_baseline"], found["created_by"]["username"]) == (True, "mara")
    problem(maintainer.get(f"vms/{estate.foreign.pk}/snapshots/"), 404, "not_found")


def test_putting_a_vm_into_a_segment(estate, admin, call):
    answer = admin.patch(f"vms/{estate.vm.pk}/", {"segment": estate.db.pk})
    assert answer.status_code == 200
    assert answer.json()["segment"] == {"id": estate.db.pk, "name": "db"}
    event = AuditEvent.objects.get(action=EventAction.VM_SEGMENT_ASSIGNED)
    assert (event.before, event.after, event.actor_name) == (
        {"segment": "web", "segment_id": estate.web.pk},
        {"segment": "db", "segment_id": estate.db.pk},
        "ada",
    )
    assert admin.patch(f"vms/{estate.vm.uuid}/", {"segment": None}).json()["segment"] is None
    # An owner may give it away and then sees it no more; the answer says so without a lie.
    owner = call(make.user_with("owner", estate.web))
    make.grant(owner.user, make.role_of("assign_segment"), estate.db)
    VM.objects.filter(pk=estate.vm.pk).update(segment=estate.web)
    assert owner.patch(f"vms/{estate.vm.pk}/", {"segment": estate.db.pk}).status_code == 200
    assert owner.get(f"vms/{estate.vm.pk}/").json()["allowed_actions"] == ["assign_segment", "view"]


def test_putting_a_vm_into_a_segment_needs_the_right_on_both(estate, maintainer, call):
    address = f"vms/{estate.vm.pk}/"
    problem(maintainer.patch(address, {"segment": None}), 403, "not_allowed")
    owner = call(make.user_with("owner", estate.web))
    hidden = problem(owner.patch(address, {"segment": estate.db.pk}), 404, "not_found", "segment")
    missing = problem(owner.patch(address, {"segment": 987654}), 404, "not_found", "segment")
    assert hidden | {"request_id": ""} == missing | {"request_id": ""}
    make.grant(owner.user, "viewer", estate.db)
    problem(owner.patch(address, {"segment": estate.db.pk}), 403, "not_allowed")
    problem(owner.patch(f"vms/{estate.foreign.pk}/", {"segment": None}), 403, "not_allowed")
    assert VM.objects.get(pk=estate.vm.pk).segment == estate.web


def test_what_is_allowed_is_what_posting_a_job_allows(estate, call):
    """The shown actions agree with the answers, for each operation and each of several people."""
    params = {"snapshot.revert": {"snapshot": "s"}, "snapshot.delete": {"snapshot": "s"}}
    people = [make.user_with(slug, estate.web) for slug in ("viewer", "operator", "maintainer", "owner")]
    people.append(make.user_with("administrator"))
    people.append(make.user_with("maintainer", estate.vm))
    denied = make.user_with("maintainer", estate.web)
    make.grant(denied, make.role_of(Action.MIGRATE), estate.vm, effect=Effect.DENY)
    people.append(denied)
    for person in people:
        caller = call(person)
        found = caller.get(f"vms/{estate.vm.pk}/")
        allowed = found.json()["allowed_actions"] if found.status_code == 200 else None
        for name, operation in OPERATIONS.items():
            if operation.target_kind != "vm":
                continue
            answer = caller.submit(estate.vm, name, **params.get(name, {}))
            if allowed is None:
                expected = answer.status_code == 404
            else:
                expected = (answer.status_code != 403) == (operation.action in allowed)
            assert expected, (person, name, answer.json())
            if answer.status_code == 201:
                assert caller.post(f"jobs/{answer.json()['id']}/cancel/", {}).status_code == 200
