"""Enrolling the simulated estate: what a portal without any hypervisor shows, and says that it does."""

from __future__ import annotations

from django.conf import settings

from access.gate import SYSTEM
from hypervisor.simulated_driver.estate import clusters_of_hosts, ensure_default_estate
from inventory.models import VM, Cluster, Host, Segment
from inventory.services.hosts import cluster_create, host_create
from inventory.services.segments import segment_create, vm_assign_segment
from inventory.syncing import host_sync


def simulated_estate_enrol() -> int:
    """Enrol every simulated host, with a segment for each network and the VMs in theirs. Returns how many hosts."""
    settings.SLIPWAY_HOST_SCHEMES |= {"sim"}
    ensure_default_estate()
    networks: set[str] = set()
    for name, cluster_name in clusters_of_hosts():
        cluster = Cluster.objects.filter(name=cluster_name).first()
        cluster = cluster or cluster_create(actor=SYSTEM, name=cluster_name, shared_storage=True)
        host = Host.objects.filter(name=name).first()
        host = host or host_create(actor=SYSTEM, name=name, uri=f"sim://{name}/", cluster=cluster)
        host_sync(host, slow=True)
        host.refresh_from_db()
        networks |= set(host.networks)
    for network in sorted(networks):
        name = network.removesuffix("-net")
        segment = Segment.objects.filter(name=name).first()
        segment = segment or segment_create(actor=SYSTEM, name=name, networks=[network])
        for vm in VM.objects.filter(segment=None, nics__source=network).distinct():
            vm_assign_segment(actor=SYSTEM, vm=vm, segment=segment)
    return Host.objects.filter(scheme="sim").count()
