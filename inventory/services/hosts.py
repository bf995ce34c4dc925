"""Clusters and hosts: adding, changing, removing."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from access.services.grants import grants_end
from audit.events import EventAction
from audit.record import record
from hypervisor.uri import HostURI, InvalidHostURI, parse_host_uri
from inventory.errors import InvalidInventoryRequest, InventoryConflict
from inventory.models import Cluster, Host, PlacementRule


@transaction.atomic
def cluster_create(
    *,
    actor: Actor,
    name: str,
    shared_storage: bool = False,
    encrypted_migrations: bool = False,
    queue: str = "slipway",
) -> Cluster:
    """Create a cluster. Needs OPERATE_HOST on everything."""
    gate.authorise(actor, Action.OPERATE_HOST)
    facts = {"shared_storage": shared_storage, "encrypted_migrations": encrypted_migrations}
    cluster = Cluster(name=name.strip(), queue=queue, **facts)
    validate(cluster)
    cluster.save()
    record(
        EventAction.CLUSTER_CREATED,
        target=cluster,
        actor=actor,
        after={"name": cluster.name, **facts},
    )
    return cluster


@transaction.atomic
def cluster_change(
    *,
    actor: Actor,
    cluster: Cluster,
    shared_storage: bool | None = None,
    encrypted_migrations: bool | None = None,
    balancing: str | None = None,
) -> Cluster:
    """Say otherwise what holds for a cluster's hosts, and what Slipway does by itself about an uneven one; None: as it
    is. Needs OPERATE_HOST on the cluster. Saying what is so already does nothing. Raises InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.OPERATE_HOST, cluster)
    if balancing is not None and balancing not in Cluster.Balancing.values:
        raise InvalidInventoryRequest("Balancing is off, advise or automatic.", field="balancing")
    cluster = Cluster.objects.select_for_update().get(pk=cluster.pk)
    wanted = {
        "shared_storage": shared_storage, "encrypted_migrations": encrypted_migrations, "balancing": balancing,
    }  # fmt: skip
    after = {name: to for name, to in wanted.items() if to is not None and to != getattr(cluster, name)}
    if after:
        before = {name: getattr(cluster, name) for name in after}
        for name, to in after.items():
            setattr(cluster, name, to)
        cluster.save(update_fields=list(after))
        record(EventAction.CLUSTER_CHANGED, target=cluster, actor=actor, before=before, after=after)
    return cluster


def host_address(text: str) -> HostURI:
    """Read a host's address from a person's text. Raises InvalidInventoryRequest; opens nothing."""
    try:
        return parse_host_uri(text, allowed=settings.SLIPWAY_HOST_SCHEMES)
    except InvalidHostURI as error:
        raise InvalidInventoryRequest(str(error), field="uri") from error


@transaction.atomic
def host_create(*, actor: Actor, name: str, uri: str, cluster: Cluster) -> Host:
    """Enrol a host. Needs OPERATE_HOST on its cluster. Raises InvalidInventoryRequest for an address that is not
    accepted.
    """
    gate.authorise(actor, Action.OPERATE_HOST, cluster)
    address = host_address(uri)
    host = Host(
        name=name.strip(),
        cluster=cluster,
        scheme=address.scheme,
        address=address.host,
        port=address.port,
        user=address.user,
    )
    if Host.objects.filter(scheme=address.scheme, address=address.host, port=address.port, user=address.user).exists():
        raise InvalidInventoryRequest("A host with this address is enrolled already.", field="uri")
    validate(host)
    host.save()
    record(EventAction.HOST_CREATED, target=host, actor=actor, after={"uri": str(host.uri), "cluster": cluster.name})
    return host


@transaction.atomic
def host_delete(*, actor: Actor, host: Host, reason: str = "") -> None:
    """Remove a host from the inventory, and the grants on it. Raises InventoryConflict while VMs are placed on it,
    and while it is the only host of a placement rule: without it the rule would leave its VMs no place.
    """
    gate.authorise(actor, Action.OPERATE_HOST, host)
    if host.vms.exists():
        raise InventoryConflict(f"{host} still has VMs; move them first.")
    for rule in PlacementRule.objects.filter(hosts=host):
        if rule.hosts.count() == 1:
            raise InventoryConflict(f"{host} is the only host of the placement rule “{rule}”; lift that first.")
    grants_end(actor=actor, target=host)
    before = {"uri": str(host.uri), "cluster": host.cluster.name, "cluster_id": host.cluster_id}
    record(EventAction.HOST_DELETED, target=host, actor=actor, reason=reason, before=before)
    host.delete()


@transaction.atomic
def host_set_availability(*, actor: Actor, host: Host, to: Host.Availability, reason: str = "") -> None:
    """Say whether VMs may be placed on a host. Needs OPERATE_HOST on it. Saying what is so already does nothing."""
    gate.authorise(actor, Action.OPERATE_HOST, host)
    now = Host.objects.select_for_update(of=("self",)).get(pk=host.pk)
    before, host.availability = now.availability, to
    if before == to:
        return
    since = None if to == Host.Availability.ACTIVE else (now.unavailable_since or timezone.now())
    Host.objects.filter(pk=host.pk).update(availability=to, unavailable_since=since)
    facts = {"before": {"availability": before}, "after": {"availability": to}}
    record(EventAction.HOST_CHANGED, target=host, actor=actor, reason=reason, **facts)  # type: ignore[arg-type]


@transaction.atomic
def host_sync_requested(*, actor: Actor, host: Host) -> None:
    """Note that somebody wants a host read now; the caller nudges the queue. Needs OPERATE_HOST on the host."""
    gate.authorise(actor, Action.OPERATE_HOST, host)
    record(EventAction.HOST_SYNC_REQUESTED, target=host, actor=actor)


def validate(instance: models.Model) -> None:
    """Run the model's validation. Raises InvalidInventoryRequest naming the first bad field."""
    try:
        instance.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInventoryRequest(" ".join(messages), field="" if field == "__all__" else field) from error
