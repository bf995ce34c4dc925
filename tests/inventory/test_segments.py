"""Segments: who may put what where, and the cards that are on somebody else's network."""

from __future__ import annotations

import pytest
from django.utils import timezone

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from hypervisor.types import NIC as SeenNIC
from hypervisor.types import GuestDefinition
from inventory.definitions import definition_observed
from inventory.errors import InvalidInventoryRequest
from inventory.services.segments import segment_create, segment_set_networks, vm_assign_segment
from tests import factories as make

pytestmark = pytest.mark.django_db


def definition(vm, *networks):
    nics = tuple(SeenNIC(f"52:54:00:00:00:0{i}", "bridge", name, "virtio") for i, name in enumerate(networks))
    return GuestDefinition(
        uuid=str(vm.uuid), name=vm.name, title="", description="", virt_type="kvm", machine="q35", cpu_model="",
        kernel_cmdline="", loader="", memory_mib=512, vcpus=1, persistent=True, autostart=False, has_managed_save=False,
        agent_channel=True, agent_connected=True, hostdevs=(), filesystems=(), nics=nics, disks=(), operation_id="",
        xml="<domain/>",
    )  # fmt: skip


def test_a_card_on_another_segments_network_is_a_finding():
    ours = segment_create(actor=SYSTEM, name="ours", networks=["net-a"])
    theirs = segment_create(actor=SYSTEM, name="theirs", networks=["net-b"])
    vm = make.vm(segment=ours)
    definition_observed(vm, definition(vm, "net-a", "net-b", "net-free"), timezone.now())
    assert [(nic.source, nic.foreign_segment) for nic in vm.nics.order_by("mac")] == [
        ("net-a", None), ("net-b", theirs), ("net-free", None),
    ]  # fmt: skip
    vm_assign_segment(actor=SYSTEM, vm=vm, segment=theirs)
    assert [nic.foreign_segment for nic in vm.nics.order_by("mac")] == [ours, None, None]
    segment_set_networks(actor=SYSTEM, segment=ours, networks=[])
    assert [nic.foreign_segment for nic in vm.nics.order_by("mac")] == [None, None, None]


def test_a_card_that_was_removed_is_dropped():
    vm = make.vm()
    definition_observed(vm, definition(vm, "net-a", "net-b"), timezone.now())
    definition_observed(vm, definition(vm, "net-a"), timezone.now())
    assert [nic.source for nic in vm.nics.all()] == ["net-a"]


def test_two_segments_cannot_share_a_network():
    segment_create(actor=SYSTEM, name="ours", networks=["net-a"])
    with pytest.raises(InvalidInventoryRequest, match="net-a"):
        segment_create(actor=SYSTEM, name="theirs", networks=["net-a"])


def test_an_owner_cannot_pull_a_vm_out_of_a_foreign_segment_or_push_one_into_it():
    ours, theirs = make.segment(), make.segment()
    mine, other = make.vm(segment=ours), make.vm(segment=theirs)
    owner = make.user_with("owner", ours)
    with pytest.raises(NotVisible):
        vm_assign_segment(actor=owner, vm=other, segment=ours)
    with pytest.raises(NotVisible):
        vm_assign_segment(actor=owner, vm=mine, segment=theirs)
    mine.refresh_from_db()
    assert mine.segment == ours


def test_a_viewer_assigns_nothing():
    ours = make.segment()
    viewer = make.user_with("viewer", ours)
    with pytest.raises(NotAllowed):
        vm_assign_segment(actor=viewer, vm=make.vm(segment=ours), segment=None)
