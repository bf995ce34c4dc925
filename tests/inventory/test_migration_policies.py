"""What VMs and segments say about their migrations."""

from __future__ import annotations

from typing import Any

import pytest

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.errors import InvalidInventoryRequest
from inventory.models import MigrationPolicy
from inventory.services.migration import segment_set_migration, vm_set_migration
from tests import factories as make

pytestmark = pytest.mark.django_db


def test_a_vm_follows_itself_then_its_segment_then_is_moved_gently() -> None:
    segment = make.segment()
    vm, loose = make.vm(segment=segment), make.vm()
    assert vm.policy_of_migrations is MigrationPolicy.GENTLE
    segment = segment_set_migration(actor=SYSTEM, segment=segment, policy="assured")
    vm.refresh_from_db()
    assert vm.policy_of_migrations is MigrationPolicy.ASSURED
    vm = vm_set_migration(actor=SYSTEM, vm=vm, policy="large", address=None)
    assert vm.policy_of_migrations is MigrationPolicy.LARGE
    assert loose.policy_of_migrations is MigrationPolicy.GENTLE


def test_it_is_said_by_who_may_edit_there_and_recorded_when_it_says_something_new() -> None:
    segment = make.segment()
    vm = make.vm(segment=segment)
    viewer, maintainer = make.user_with("viewer", segment), make.user_with("maintainer", segment)
    for refused, who in ((NotAllowed, viewer), (NotVisible, make.user())):
        with pytest.raises(refused):
            vm_set_migration(actor=who, vm=vm, policy="large", address=None)
        with pytest.raises(refused):
            segment_set_migration(actor=who, segment=segment, policy="large")
    for _ in range(2):
        vm_set_migration(actor=maintainer, vm=vm, policy="large", address="2001:DB8::7")
        segment_set_migration(actor=maintainer, segment=segment, policy="large")
    of_vm = AuditEvent.objects.get(action=EventAction.VM_CHANGED)
    assert of_vm.after == {"migration_policy": "large", "probe_address": "2001:db8::7"}
    assert of_vm.before == {"migration_policy": "", "probe_address": None}
    assert AuditEvent.objects.get(action=EventAction.SEGMENT_CHANGED).after == {"migration_policy": "large"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"policy": "reckless"}, "no policy “reckless”"),
        ({"address": "web-1.example"}, "no IP address"),
        ({"address": "127.0.0.1"}, "not the address of a guest"),
        ({"address": "fe80::1%eth0"}, "give the address alone"),
        ({"address": "::1"}, "not the address of a guest"),
        ({"address": "224.0.0.1"}, "not the address of a guest"),
        ({"address": "::"}, "not the address of a guest"),
        ({"address": "255.255.255.255"}, "not the address of a guest"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(wrong: dict[str, Any], why: str) -> None:
    vm = make.vm(segment=make.segment())
    with pytest.raises(InvalidInventoryRequest, match=why):
        vm_set_migration(actor=SYSTEM, vm=vm, **({"policy": "gentle", "address": None} | wrong))
    vm.refresh_from_db()
    assert (vm.migration_policy, vm.probe_address) == ("", None)
