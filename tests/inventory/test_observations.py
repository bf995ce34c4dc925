"""What hosts said becomes sightings and VMs: fresh words beat stale ones, and a VM keeps what is its own."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.types import GuestState, PowerState, StateReason
from inventory.models import VM, Sighting
from inventory.observations import guest_observed, guests_observed
from tests import factories as make

pytestmark = pytest.mark.django_db


def guest(uuid: str, state: PowerState = PowerState.RUNNING, reason: StateReason = StateReason.BOOTED) -> GuestState:
    return GuestState(uuid, f"guest-{uuid[:4]}", state, reason, 512, 1)


def recorded(action: EventAction, vm: VM) -> int:
    return AuditEvent.objects.filter(action=action, object_type="vm", object_id=str(vm.pk)).count()


def test_a_first_sighting_makes_a_vm_without_a_segment_and_records_it():
    host, uuid = make.host(), str(uuid4())
    guests_observed(host, [guest(uuid)], timezone.now())
    vm = VM.objects.get(uuid=uuid)
    assert (vm.host, vm.segment, vm.power_state) == (host, None, "running")
    assert recorded(EventAction.VM_DISCOVERED, vm) == 1


def test_a_vm_that_leaves_and_returns_keeps_its_segment_and_grants():
    first, second, uuid = make.host(), make.host(), str(uuid4())
    now = timezone.now()
    guests_observed(first, [guest(uuid)], now)
    vm = VM.objects.get(uuid=uuid)
    vm.segment = make.segment()
    vm.save()
    user = make.user_with("operator", vm)
    for step, (gone_from, seen_on) in enumerate([(first, second), (second, first)], start=1):
        later = now + timedelta(seconds=step)
        guests_observed(gone_from, [], later)
        guests_observed(seen_on, [guest(uuid, reason=StateReason.MIGRATED)], later)
    again = VM.objects.get(uuid=uuid)
    assert (again.pk, again.segment, again.host, again.missing_since) == (vm.pk, vm.segment, first, None)
    assert VM.objects.visible_to(user).get() == again
    assert recorded(EventAction.VM_MOVED, vm) == 2


def test_a_vm_that_no_host_lists_is_missing_once():
    host, uuid = make.host(), str(uuid4())
    now = timezone.now()
    guests_observed(host, [guest(uuid)], now)
    for step in (1, 2, 3):
        guests_observed(host, [], now + timedelta(seconds=step))
    vm = VM.objects.get(uuid=uuid)
    assert vm.missing_since is not None
    assert vm.host == host
    assert recorded(EventAction.VM_VANISHED, vm) == 1


def test_a_slow_list_does_not_overwrite_a_quick_event():
    host, uuid = make.host(), str(uuid4())
    asked = timezone.now()
    guests_observed(host, [guest(uuid)], asked - timedelta(seconds=10))
    guest_observed(host, uuid, guest(uuid, PowerState.PAUSED, StateReason.USER), asked + timedelta(seconds=1))
    guests_observed(host, [guest(uuid)], asked)
    assert Sighting.objects.get(uuid=uuid).state == "paused"
    assert VM.objects.get(uuid=uuid).power_state == "paused"
    guests_observed(host, [], asked)
    assert VM.objects.get(uuid=uuid).missing_since is None


def test_the_same_uuid_twice_in_a_list_is_taken_once():
    host, uuid = make.host(), str(uuid4())
    guests_observed(host, [guest(uuid), guest(uuid, PowerState.PAUSED)], timezone.now())
    assert Sighting.objects.filter(uuid=uuid).count() == 1


def test_two_hosts_running_it_at_once_are_flagged():
    first, second, uuid = make.host(), make.host(), str(uuid4())
    now = timezone.now()
    guests_observed(first, [guest(uuid)], now)
    guests_observed(second, [guest(uuid)], now + timedelta(seconds=1))
    assert not VM.objects.get(uuid=uuid).is_split  # the first one's word is older than the second one's start
    guests_observed(first, [guest(uuid)], now + timedelta(seconds=2))
    assert VM.objects.get(uuid=uuid).is_split
    guests_observed(second, [], now + timedelta(seconds=3))
    assert not VM.objects.get(uuid=uuid).is_split


def test_hostile_names_are_kept_literally():
    host, uuid = make.host(), str(uuid4())
    name = "<b>x</b>'; DROP TABLE vm; --" + "y" * 300
    guests_observed(host, [GuestState(uuid, name, PowerState.RUNNING, StateReason.BOOTED, 1, 1)], timezone.now())
    assert VM.objects.get(uuid=uuid).name == name[:255]


def test_an_unchanged_host_costs_the_same_at_any_size(django_assert_max_num_queries):
    host = make.host()
    guests = [guest(str(uuid4())) for _ in range(300)]
    now = timezone.now()
    guests_observed(host, guests, now)
    with django_assert_max_num_queries(7):
        changed = guests_observed(host, guests, now + timedelta(seconds=5))
    assert changed == 0
    assert VM.objects.filter(host=host, observed_at=now + timedelta(seconds=5)).count() == 300
