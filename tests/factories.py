"""Objects for tests, each in a line: what a test does not say is plausible and unique.

People, teams and grants are made by the services, as in an installation; the estate is written as if just observed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from django.utils import timezone
from knox.models import AuthToken

from access.gate import SYSTEM
from access.models import AccessRequest, Effect, Grant, Membership, Role, Team, User
from access.services import requests as request_services
from access.services.grants import grant_create
from access.services.roles import role_create, role_templates_install
from hypervisor.types import PowerState, SnapshotKind
from inventory.models import (
    NIC,
    VM,
    BaselinePolicy,
    Cluster,
    Definition,
    Host,
    PlacementRule,
    Segment,
    SegmentNetwork,
    Sighting,
    Snapshot,
)
from inventory.services.placement import placement_rule_create
from jobs.models import Job, JobLock
from jobs.states import LOCKING, State

_number = count(1)


def _name(noun: str, given: str) -> str:
    return given or f"{noun}-{next(_number)}"


# People


def user(username: str = "", *, password: str | None = None, full_name: str = "", is_active: bool = True) -> User:
    """An account that holds nothing."""
    first, _, last = full_name.partition(" ")
    account = User(username=_name("user", username), first_name=first, last_name=last, is_active=is_active)
    account.set_password(password)
    account.save()
    return account


def team(name: str = "", *, members: Iterable[User] = (), leads: Iterable[User] = ()) -> Team:
    """A team with members and leads."""
    group = Team.objects.create(name=_name("team", name))
    for person in members:
        Membership.objects.create(team=group, user=person)
    for person in leads:
        Membership.objects.create(team=group, user=person, is_lead=True)
    return group


def role(slug: str = "viewer") -> Role:
    """A built-in role."""
    if not Role.objects.filter(slug=slug).exists():
        role_templates_install()
    return Role.objects.get(slug=slug)


def role_of(*actions: str) -> Role:
    """A role of just these actions (and view)."""
    slug = f"role-{next(_number)}"
    return role_create(actor=SYSTEM, slug=slug, name=slug, actions=list(dict.fromkeys(["view", *actions])))


def grant(
    holder: Team | User,
    given: str | Role,
    target: Any = None,
    *,
    effect: Effect = Effect.ALLOW,
    expires_at: datetime | None = None,
    reason: str = "for a test",
) -> Grant:
    """`given`, a role or a built-in one's slug, to a team or user on an object; on everything when there is none."""
    return grant_create(
        actor=SYSTEM,
        holder=holder,
        role=role(given) if isinstance(given, str) else given,
        target=target,
        everything=target is None,
        effect=effect,
        expires_at=expires_at,
        reason=reason,
    )


def access_request(account: User, given: str, target: Any, *, hours: int = 4) -> AccessRequest:
    """A request for a built-in role on something that the account sees."""
    asked = {"role": role(given), "target": target, "hours": hours, "reason": "for a test"}
    return request_services.access_request(actor=account, **asked)


def user_with(given: str | Role, target: Any = None, *, username: str = "") -> User:
    """An account with one grant."""
    account = user(username)
    grant(account, given, target)
    return account


def token(account: User, *, days: int = 1) -> str:
    """A token for the API."""
    _row, text = AuthToken.objects.create(user=account, expiry=timedelta(days=days))
    return str(text)


# The estate


def cluster(name: str = "", **facts: Any) -> Cluster:
    """A cluster."""
    return Cluster.objects.create(name=_name("cluster", name), **facts)


def host(name: str = "", *, cluster: Cluster | None = None, **facts: Any) -> Host:
    """A simulated host that is online and has room for some dozens of VMs."""
    name = _name("host", name)
    seen: dict[str, Any] = {
        "scheme": "sim",
        "address": name,
        "connection": Host.Connection.ONLINE,
        "observed_at": timezone.now(),
        "cpus": 16,
        "memory_mib": 65_536,
        "memory_free_mib": 60_000,
    }
    home = cluster or Cluster.objects.create(name=_name("cluster", ""))
    return Host.objects.create(name=name, cluster=home, **seen | facts)


def placement_rule(cluster: Cluster, *vms: VM, kind: str = PlacementRule.Kind.APART, **parts: Any) -> PlacementRule:
    """A placement rule; its VMs are to be apart unless it says otherwise."""
    name = _name("rule", parts.pop("name", ""))
    return placement_rule_create(actor=SYSTEM, cluster=cluster, name=name, kind=kind, vms=vms, **parts)


def segment(name: str = "", *, networks: Iterable[str] = ()) -> Segment:
    """A segment with its networks; its VMs get no baseline before somebody marks them as installed."""
    created = Segment.objects.create(name=_name("segment", name), baseline_policy=BaselinePolicy.INSTALLED)
    for network in networks:
        SegmentNetwork.objects.create(segment=created, name=network)
    return created


def vm(
    name: str = "", *, segment: Segment | None = None, host: Host | None = None, running: bool = True, **facts: Any
) -> VM:
    """A VM as derived from a fresh sighting on its host; without a host, one that was never seen alive."""
    now = timezone.now()
    state = (PowerState.RUNNING if running else PowerState.SHUT_OFF) if host else PowerState.UNKNOWN
    seen: dict[str, Any] = {"power_state": state.value, "memory_mib": 512, "vcpus": 1, "observed_at": now}
    created = VM.objects.create(
        uuid=facts.pop("uuid", uuid4()), name=_name("vm", name), segment=segment, host=host, **seen | facts
    )
    if host is not None:
        Sighting.objects.create(
            host=host,
            uuid=created.uuid,
            name=created.name,
            state=created.power_state,
            memory_mib=created.memory_mib,
            vcpus=created.vcpus,
            state_since=now,
            observed_at=now,
        )
    return created


def vms(number: int, *, segment: Segment | None = None, host: Host | None = None) -> list[VM]:
    """Many running VMs at once, for tests that count SQL statements."""
    now = timezone.now()
    return VM.objects.bulk_create(
        VM(
            uuid=uuid4(),
            name=_name("vm", ""),
            segment=segment,
            host=host,
            power_state=PowerState.RUNNING.value,
            memory_mib=512,
            vcpus=1,
            observed_at=now,
        )
        for _ in range(number)
    )


def nic(vm: VM, network: str, *, mac: str = "", foreign_segment: Segment | None = None) -> NIC:
    """A network card."""
    number = next(_number)
    return NIC.objects.create(
        vm=vm,
        mac=mac or f"52:54:00:00:{number // 256 % 256:02x}:{number % 256:02x}",
        source_kind="network",
        source=network,
        model="virtio",
        foreign_segment=foreign_segment,
    )


def snapshot(vm: VM, name: str = "", *, baseline: bool = False, **facts: Any) -> Snapshot:
    """A snapshot of a running VM."""
    now = timezone.now()
    seen: dict[str, Any] = {
        "created_at": now,
        "state": PowerState.RUNNING.value,
        "kind": SnapshotKind.INTERNAL.value,
        "has_memory": True,
        "observed_at": now,
    }
    return Snapshot.objects.create(vm=vm, name=_name("snapshot", name), is_baseline=baseline, **seen | facts)


def changed_definition(vm: VM | None = None) -> Definition:
    """A definition that is not the approved one, not saved: the title was changed on the host."""
    seen: dict[str, Any] = {"xml": "<domain><title>changed</title></domain>", "facts": {"autostart": False}}
    was: dict[str, Any] = {"approved_xml": "<domain/>", "approved_facts": {"autostart": False}}
    now = timezone.now()
    times = {"read_at": now, "approved_at": now, "approved_because": "as it was first seen"}
    return Definition(vm=vm, differs=True, **seen, **was, **times)


# Work


def job(
    vm: VM,
    *,
    by: User,
    operation: str = "snapshot.create",
    state: State = State.QUEUED,
    locks: Sequence[str] | None = None,
    **facts: Any,
) -> Job:
    """A job on a VM, with the lock that one in this state holds."""
    known: dict[str, Any] = {"target_name": vm.name, "requested_by": by, "requester_name": by.username}
    created = Job.objects.create(vm=vm, operation=operation, state=state, **known | facts)
    held = [f"vm:{vm.uuid}"] if locks is None and state in LOCKING else locks or []
    for resource in held:
        JobLock.objects.create(resource=resource, job=created)
    return created
