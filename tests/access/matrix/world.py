"""What the requests are about: two segments that know nothing of each other, what is in none, what is not there, and
what has been deleted.

Every name on a side is a canary, a word that stands nowhere else: `theirs-host-canary`. `canaries.table` says who may
come to know which.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from access.gate import SYSTEM
from access.models import AccessRequest, Grant, Membership, Role, Team, User
from access.services.grants import grant_revoke
from access.services.roles import role_create
from audit.events import EventAction
from audit.holds import Cover, Hold, hold_place
from audit.models import AuditEvent, AuditSeal
from audit.record import record
from inventory.models import (
    VM,
    ApprovalRule,
    Cluster,
    Host,
    Leftover,
    PlacementRule,
    SeenChange,
    Segment,
    Sighting,
    Snapshot,
)
from jobs.approvals import ask_for_approval
from jobs.models import Approval, BrokenGlass, Job, Step
from jobs.states import State
from tests import factories as make


@dataclass
class Side:
    """One of everything.

    `second` is another VM beside `vm`, held by `job`, which waits for a worker. On `vm`: `done`, a job that is over and
    went ahead without approval (`broken`) as a part of `drain`, work on the host, and `waiting`, one that waits for it
    (`approval`). `placement` is a placement rule of the cluster. `request` asks for
    access. `search`: ours is the auditor's, theirs is another one's, loose is shared by them (`people.py` makes them).
    """

    name: str
    cluster: Any
    host: Any
    segment: Any
    vm: Any
    second: Any
    snapshot: Any
    done: Any
    drain: Any
    job: Any
    waiting: Any
    approval: Any
    broken: Any
    change: Any
    rule: Any
    placement: Any
    request: Any
    step: Any
    sighting: Any
    team: Any
    user: Any
    membership: Any
    role: Any
    grant: Any
    event: Any
    seal: Any
    hold: Any
    leftover: Any
    search: Any = None


@dataclass
class World:
    """The sides by name, and what the people are made of."""

    ours: Side
    theirs: Side
    loose: Side
    gone: Side
    deleted: Side

    def side(self, name: str) -> Side:
        """The side of that name."""
        found: Side = getattr(self, name)
        return found


def canary(side: str, noun: str) -> str:
    """The word for one thing: in its name, and nowhere else."""
    return f"{side}-{noun}-canary"


def build() -> World:
    """Make it all, inside the transaction in progress."""
    ours, theirs = _side("ours"), _side("theirs")
    role_create(actor=SYSTEM, slug="night-shift", name="Night shift", actions=["view", "patch", "export"])
    _lodger(theirs, ours.host)
    make.nic(ours.vm, "a-network", foreign_segment=theirs.segment)
    return World(ours, theirs, _loose(ours), _gone(), _deleted())


def _side(side: str) -> Side:
    """A segment on a cluster of its own, with a team that views it."""
    cluster = make.cluster(canary(side, "cluster"), shared_storage=True)
    host = make.host(canary(side, "host"), cluster=cluster)
    spare = make.host(f"{side}-spare", cluster=cluster)
    segment = make.segment(canary(side, "segment"), networks=[f"{canary(side, 'segment')}-net"])
    segment.description = canary(side, "segment")
    segment.save()
    member = make.user(canary(side, "member"), full_name=f"Mate {canary(side, 'member')}")
    team = make.team(canary(side, "team"), members=[member])
    grant = make.grant(team, "viewer", segment)
    Grant.objects.filter(pk=grant.pk).update(reason=canary(side, "reason"))
    return Side(
        **_machines(side, segment, host, member),
        request=_request(side, member, segment=segment),
        rule=ApprovalRule.objects.create(segment=make.segment(f"{side}-ruled"), operation="vm.patch"),
        placement=make.placement_rule(
            cluster, kind="only_on", segment=segment, hosts=[host, spare], name=canary(side, "placement")
        ),
        cluster=cluster,
        host=host,
        segment=segment,
        team=team,
        user=member,
        membership=Membership.objects.get(team=team, user=member),
        role=make.role("viewer"),
        grant=grant,
    )


def _loose(ours: Side) -> Side:
    """What is in no segment, and who is in no team; on the host of our side."""
    person = make.user(canary("loose", "member"), full_name=f"Nobody {canary('loose', 'member')}")
    grant = make.grant(person, "placement", None)
    Grant.objects.filter(pk=grant.pk).update(reason=canary("loose", "reason"))
    machines = _machines("loose", None, ours.host, person)
    return Side(
        **machines,
        request=_request("loose", person, vm=machines["vm"]),
        rule=ours.rule,
        placement=ours.placement,
        cluster=ours.cluster,
        host=ours.host,
        segment=None,
        team=ours.team,
        user=person,
        membership=ours.membership,
        role=ours.role,
        grant=grant,
    )


def _machines(side: str, segment: Segment | None, host: Host, person: User) -> dict[str, Any]:
    """Two VMs with snapshots, jobs and their record."""
    word = canary(side, "vm")
    vm = make.vm(
        word, segment=segment, host=host, title=word, description=word, agent_channel=True,
        disks=[{"target": "vda", "source": word}],
    )  # fmt: skip
    second = make.vm(canary(side, "second"), segment=segment, host=host)
    now = timezone.now()
    over = {"started_at": now, "finished_at": now, "error_code": "went_wrong", "error_message": word}
    drain = _drain(host, [vm, second], word)
    done = make.job(
        vm, by=person, state=State.FAILED, params={"name": word}, result={"snapshot": word}, parent=drain, **over
    )
    job = make.job(second, by=person, params={"name": canary(side, "second")})
    waiting = make.job(vm, by=person, state=State.AWAITING_APPROVAL, params={"name": word})
    approval = ask_for_approval(waiting)
    outside = {"kind": SeenChange.Kind.DEFINITION, "verdict": SeenChange.Verdict.OUTSIDE, "seen_at": now}
    change = SeenChange.objects.create(vm=vm, host_name=host.name, after={"title": word}, **outside)
    make.changed_definition(vm).save()
    leftover = Leftover.objects.create(
        host=host, vm=vm, vm_name=word, path=f"/images/{word}", left_at=now, remove_after=now
    )
    step = Step.objects.create(
        job=done, position=1, phase="execute", name="save", title=word, detail=word, started_at=now
    )
    event = record(EventAction.VM_CHANGED, target=vm, actor=SYSTEM, reason=canary(side, "record"))
    seal = AuditSeal.objects.create(
        sequence=event.pk, event_id=event.pk, previous_mac="0" * 64, mac="1" * 64, key_id="key", sealed_at=now
    )
    return {
        "name": side,
        "vm": vm,
        "second": second,
        "snapshot": make.snapshot(vm, f"{word}-snapshot", description=word),
        "done": done,
        "drain": drain,
        "job": job,
        "waiting": waiting,
        "approval": approval,
        "change": change,
        "broken": BrokenGlass.objects.create(job=done, reason=word),
        "step": step,
        "leftover": leftover,
        "sighting": Sighting.objects.get(uuid=vm.uuid),
        "event": event,
        "seal": seal,
        "hold": AuditEvent.objects.get(pk=_hold().id),
    }


def _drain(host: Host, vms: list[VM], word: str) -> Job:
    """Work on a host that was about these VMs: who sees the host and not the VMs may not know of them by it."""
    left = {str(vm.pk): ["no_destination", word] for vm in vms}
    return Job.objects.create(
        operation="host.drain", host=host, target_name=host.name, requester_name="system", state=State.FAILED,
        params={"unmovable": "leave"}, result={"moved": 0, "left": 2}, finished_at=timezone.now(),
        journal={"extent": {str(vm.pk): vm.segment_id for vm in vms}, "left": left},
    )  # fmt: skip


def _hold() -> Hold:
    return hold_place(name="A case", reason="a court", cover=Cover(), actor=SYSTEM)


def _request(side: str, person: User, **scope: Any) -> AccessRequest:
    """Somebody who asks to be an operator for a while."""
    return AccessRequest.objects.create(
        user=person,
        role=make.role("operator"),
        hours=1,
        reason=canary(side, "request"),
        expires_at=timezone.now() + timedelta(hours=1),
        **scope,
    )


def _lodger(of: Side, host: Host) -> None:
    """A VM of one side that runs on the other side's host, beside the VMs there."""
    make.vm(canary(of.name, "vm") + "-lodger", segment=of.segment, host=host)


def _deleted() -> Side:
    """A side like the others, of which everything has been deleted but its record; what it was called is kept."""
    side = _side("deleted")
    side.role = role_create(actor=SYSTEM, slug=canary("deleted", "role"), name="Deleted", actions=["view"])
    kept = _gone()
    for field in fields(Side):
        thing = getattr(side, field.name)
        if thing is not None and field.name not in ("name", "event", "seal", "hold"):
            names = {name: getattr(thing, name, "") for name in ("pk", "name", "uuid", "username", "slug")}
            setattr(kept, field.name, SimpleNamespace(**names))
    kept.name = "deleted"
    Job.objects.filter(vm__in=[side.vm, side.second]).delete()
    Job.objects.filter(host__cluster=side.cluster).delete()
    grant_revoke(actor=SYSTEM, grant=side.grant)
    side.sighting.delete()
    for thing in (side.vm, side.second, side.segment, side.team, side.user, side.role, side.rule):
        thing.delete()
    Host.objects.filter(cluster=side.cluster).delete()
    side.cluster.delete()
    return kept


def _gone() -> Side:
    """Ids under which there is nothing."""
    numbers = {
        field.name: SimpleNamespace(pk=900_000_000 + place, name=canary("gone", field.name), uuid=uuid4())
        for place, field in enumerate(fields(Side))
    }
    numbers["name"] = "gone"  # type: ignore[assignment]
    for job in ("job", "done", "waiting", "drain"):
        numbers[job].pk = uuid4()  # type: ignore[assignment]
    numbers["user"].username = canary("gone", "member")
    return Side(**numbers)


#: What a type of thing is called on a side: for the admin's addresses.
MODELS: dict[type, str] = {
    AuditEvent: "event",
    AuditSeal: "seal",
    User: "user",
    Team: "team",
    Membership: "membership",
    Role: "role",
    Grant: "grant",
    Cluster: "cluster",
    Host: "host",
    Segment: "segment",
    VM: "vm",
    Snapshot: "snapshot",
    Sighting: "sighting",
    Job: "job",
    Step: "step",
    AccessRequest: "request",
    Approval: "approval",
    BrokenGlass: "broken",
    ApprovalRule: "rule",
    SeenChange: "change",
    PlacementRule: "placement",
}


def key(thing: Any) -> int | str | UUID | None:
    """The id of a thing; None of nothing."""
    return None if thing is None else thing.pk
