"""Definitions, changes from outside and alarms over the API."""

from __future__ import annotations

import pytest
from django.utils import timezone

from inventory.models import Definition, SeenChange
from tests import factories as make
from tests.api.conftest import problem


@pytest.fixture
def owner(estate, call):
    return call(make.user_with("owner", estate.web))


@pytest.fixture
def changed(estate) -> Definition:
    definition = make.changed_definition(estate.vm)
    definition.save()
    return definition


def outside(vm, kind: str = "stopped") -> SeenChange:
    return SeenChange.objects.create(vm=vm, kind=kind, verdict="outside", seen_at=timezone.now(), host_name="north")


def test_what_differs_is_told_and_approved(estate, owner, changed):
    address = f"vms/{estate.vm.pk}/definition/"
    told = owner.get(address).json()
    assert told["differs"]
    assert "+  <title>changed</title>" in told["difference"]
    assert (told["approved_by"], told["approved_because"]) == (None, "as it was first seen")
    answer = owner.post(f"{address}approve/", {"seen": told["digest"], "reason": "ordered"})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["differs"], answer.json()["approved_because"]) == (False, "ordered")
    assert answer.json()["approved_by"]["username"] == owner.user.username
    problem(owner.post(f"{address}approve/", {"seen": told["digest"]}), 400, "invalid")


def test_another_definition_than_the_one_looked_at_is_not_approved(estate, owner, changed):
    found = problem(owner.post(f"vms/{estate.vm.uuid}/definition/approve/", {"seen": "0" * 64}), 400, "invalid")
    assert "look again" in found["detail"]
    assert Definition.objects.get().differs


def test_a_vm_without_a_kept_definition_has_none(estate, owner):
    problem(owner.get(f"vms/{estate.vm.pk}/definition/"), 404, "not_found")


def test_restoring_is_a_job(estate, owner, changed):
    answer = owner.submit(estate.vm, "vm.restore_definition")
    assert answer.status_code == 201, answer.content
    assert set(answer.json()["params"]) == {"approved"}
    problem(owner.submit(estate.vm, "vm.restore_definition", approved="mine"), 400, "invalid")


def test_changes_from_outside_are_listed_and_noted_as_far_as_they_were_seen(estate, owner):
    seen, later = outside(estate.vm), outside(estate.vm, "started")
    outside(estate.foreign)
    listed = owner.get(f"vms/{estate.vm.pk}/changes/").json()["results"]
    assert [change["id"] for change in listed] == [later.pk, seen.pk]
    address = f"vms/{estate.vm.pk}/changes/acknowledge/"
    assert owner.post(address, {"up_to": seen.pk, "note": "the night shift"}).json() == {"acknowledged": 1}
    waiting = owner.get(f"vms/{estate.vm.pk}/changes/", acknowledged="false").json()["results"]
    assert [change["id"] for change in waiting] == [later.pk]
    problem(owner.post(address, {"up_to": seen.pk}), 422, "nothing_open")


def test_alarms_are_set_by_who_grants_on_everything(estate, owner, call):
    address = f"segments/{estate.web.pk}/alarms/"
    problem(owner.send("PUT", address, '{"silent": ["power"]}'), 403, "not_allowed")
    admin = call(make.user_with("administrator"))
    assert admin.send("PUT", address, '{"silent": ["power"]}').json()["silent"] == ["power"]
    problem(admin.send("PUT", address, '{"silent": ["weather"]}'), 400, "invalid")
