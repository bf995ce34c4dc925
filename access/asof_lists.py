"""Which objects to look at when somebody asks about a moment: what a segment held, what somebody's grants reached."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Q, QuerySet

from access.asof import Moment
from access.gate import Key
from access.grant_facts import FACTS
from access.models import Grant
from audit.events import EventAction

_SCOPES = ("vm", "segment", "host", "cluster")


def in_segments(moment: Moment, vms: QuerySet[Any], segments: Collection[int]) -> QuerySet[Any]:
    """Those of the VMs that were in one of these segments then."""
    return vms.filter(_was_in(moment, segments))


def reached(moment: Moment, objects: QuerySet[Any], users: Collection[int]) -> QuerySet[Any]:
    """Those of the objects, all of one kind, of which some grant might have spoken to one of these users then."""
    keys = _keys(moment, users)
    if any(scope == "everything" for scope, _number in keys):
        return objects
    numbers = {kind: [number for scope, number in keys if scope == kind] for kind in _SCOPES}
    kind = str(objects.model._meta.model_name)
    wanted = Q(pk__in=numbers[kind])
    if kind == "vm":
        wanted |= _was_in(moment, numbers["segment"])
    elif kind == "host":
        wanted |= Q(cluster__in=numbers["cluster"])  # for good: a host is in the cluster that it was enrolled in
    return objects.filter(wanted)


def _was_in(moment: Moment, segments: Collection[int]) -> Q:
    before: dict[int, Any] = {}
    for event in moment.changes(EventAction.VM_SEGMENT_ASSIGNED):  # the oldest one comes last
        was = event.before
        before[int(event.object_id)] = was.get("segment_id")
        if "segment_id" not in was:
            moment.doubt(event.id)
    here = [vm for vm, segment in before.items() if segment in segments]
    return (Q(segment__in=segments) & ~Q(pk__in=list(before))) | Q(pk__in=here)


def _keys(moment: Moment, users: Collection[int]) -> set[Key]:
    """What today's grants of these users and their teams reach, and those that were taken away since."""
    teams = moment.teams_of(users)
    today = Grant.objects.filter(Q(user__in=users) | Q(team__in=teams)).select_related(None).order_by()
    keys: set[Key] = set()
    for everything, *numbers in today.values_list("everything", *_SCOPES):
        keys |= {("everything", 0)} if everything else set()
        keys |= {(scope, number) for scope, number in zip(_SCOPES, numbers, strict=True) if number is not None}
    holders = {*(("user", user) for user in users), *(("team", team) for team in teams)}
    for event in moment.changes(EventAction.GRANT_REVOKED):
        was = event.before
        if not was.keys() >= FACTS:
            moment.doubt(event.id)
        elif (was["holder_type"], was["holder_id"]) in holders:
            keys.add((was["scope_type"], was["scope_id"]))
    return keys
