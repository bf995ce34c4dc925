"""Work on hosts, as the API shows it: what would move where, and what becomes of each VM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from access.models import User
from inventory.models import HostPair
from jobs.models import Job
from jobs.operations.hosts.survey import Outlook
from jobs.roster import Entry, Fate, has_roster, roster
from portal.api.fields import NamedSerializer

FATES = [(fate.value, fate.value.replace("_", " ")) for fate in Fate]


class PlannedMoveSerializer(serializers.Serializer):
    """A VM and where it would go."""

    vm = NamedSerializer()
    destination = NamedSerializer()


class StuckSerializer(serializers.Serializer):
    """A VM that cannot move, and why."""

    vm = NamedSerializer()
    code = serializers.CharField()
    message = serializers.CharField()


class DrainPlanSerializer(serializers.Serializer):
    """What would become of everything on a host that is drained, as is observed now."""

    moves = PlannedMoveSerializer(many=True)
    stuck = StuckSerializer(many=True)
    off = NamedSerializer(many=True, help_text="Switched off: they stay defined on the host.")
    hidden = serializers.IntegerField(help_text="VMs that run on the host and that the caller does not see.")
    is_complete = serializers.BooleanField(help_text="Whether nothing would be left running on the host.")
    needs_approval = serializers.BooleanField(help_text="Whether somebody else would have to approve it.")


def plan_shown(plan: Outlook, *, needs_approval: bool) -> dict[str, Any]:
    """A plan as `DrainPlanSerializer` takes it."""
    return {
        "moves": [{"vm": vm, "destination": host} for vm, host in plan.moves],
        "stuck": [{"vm": vm, "code": obstacle.code, "message": obstacle.why} for vm, obstacle in plan.stuck.values()],
        "off": list(plan.survey.off.values()),
        "hidden": plan.survey.hidden,
        "is_complete": plan.is_complete,
        "needs_approval": needs_approval,
    }


class PathSerializer(serializers.Serializer):
    """The way of VMs from one host to another, as the last canary found it."""

    source = NamedSerializer()
    destination = NamedSerializer()
    ok = serializers.BooleanField(allow_null=True, help_text="Null: never proved.")
    proved_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True, help_text="How long the canary took.")
    why = serializers.CharField(
        allow_blank=True, allow_null=True, help_text="What the host said; null unless the caller operates the host."
    )


def paths_shown(pairs: Iterable[HostPair], *, with_reasons: bool) -> list[dict[str, Any]]:
    """Paths as `PathSerializer` gives them."""
    shown = [dict(PathSerializer(pair).data) for pair in pairs]
    return shown if with_reasons else [path | {"why": None} for path in shown]


class LeftoverSerializer(serializers.Serializer):
    """The file of a disk that was copied to another host with its VM."""

    id = serializers.IntegerField()
    vm = NamedSerializer()
    path = serializers.CharField()
    size_bytes = serializers.IntegerField()
    left_at = serializers.DateTimeField()
    remove_after = serializers.DateTimeField(allow_null=True, help_text="Null: it is kept.")
    why_not = serializers.CharField(allow_blank=True, help_text="Why it was not removed when it was due.")


class LeftoversSerializer(serializers.Serializer):
    """What VMs left on a host: of those that the caller sees, and how many files of others there are."""

    entries = LeftoverSerializer(many=True)
    hidden = serializers.IntegerField()


class RosterEntrySerializer(serializers.Serializer):
    """One VM of work on a host."""

    vm = NamedSerializer()
    fate = serializers.ChoiceField(FATES)
    job = serializers.UUIDField(allow_null=True, help_text="The part of the job that works or last worked on it.")
    operation = serializers.CharField(allow_blank=True)
    state = serializers.CharField(allow_blank=True, help_text="The state of that part.")
    percent = serializers.IntegerField()
    destination = serializers.CharField(allow_blank=True, help_text="The host that it goes or went to.")
    code = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)


class RosterSerializer(serializers.Serializer):
    """The VMs that work on a host or a cluster is about: those that the caller sees, and how many others there are."""

    entries = RosterEntrySerializer(many=True)
    hidden = serializers.IntegerField()


def roster_shown(onlooker: User, job: Job) -> dict[str, Any] | None:
    """A job's roster as `RosterSerializer` gives it; None for work on a VM, and for advice."""
    if not has_roster(job):
        return None
    found = roster(onlooker, job)
    return dict(RosterSerializer({"entries": [_entry(e) for e in found.entries], "hidden": found.hidden}).data)


def _entry(entry: Entry) -> dict[str, Any]:
    part = entry.part
    of_part = {
        "job": part.pk if part else None,
        "operation": part.operation if part else "",
        "state": part.state if part else "",
        "percent": part.percent if part else 0,
        "destination": str(part.params.get("destination_name", "")) if part else "",
    }
    return {"vm": entry.vm, "fate": entry.fate.value, "code": entry.code, "message": entry.why, **of_part}
