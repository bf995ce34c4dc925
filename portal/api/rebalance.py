"""A plan for a cluster, as the API shows it: of VMs and hosts that the caller does not see, how many there are."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from access.models import User
from jobs.models import Job
from jobs.operations.rebalance.proposal import Proposal, written
from jobs.plan_told import ToldPlan, plan_told
from portal.api.fields import NamedSerializer

OPERATION = "cluster.rebalance"


class StandingSerializer(serializers.Serializer):
    """How a placement stands. Shares are fractions of 1, by resource (`CPU`, `memory`)."""

    imbalance = serializers.FloatField(help_text="The sum of the standard deviations of the hosts' shares.")
    over_mean = serializers.DictField(
        child=serializers.FloatField(), help_text="How far the fullest host is over the mean."
    )
    fullest = serializers.DictField(child=serializers.FloatField(), help_text="How full the fullest host is.")
    stranded_mib = serializers.IntegerField(
        help_text="Memory of VMs that would find no place if one host failed, in MiB."
    )


class MoveSerializer(serializers.Serializer):
    """A VM and where it is to go, with why, what it gains, and what it costs."""

    vm = NamedSerializer()
    source = NamedSerializer(allow_null=True)
    destination = NamedSerializer(allow_null=True)
    code = serializers.CharField()
    reason = serializers.CharField()
    gain = serializers.FloatField(help_text="By how much it lowers the imbalance.")
    sent_gib = serializers.FloatField()
    seconds = serializers.FloatField()


class UnmetSerializer(serializers.Serializer):
    """What the plan does not bring about. `impossible`: no placement does."""

    code = serializers.CharField()
    message = serializers.CharField()
    impossible = serializers.BooleanField()
    vms = NamedSerializer(many=True)
    others = serializers.IntegerField(help_text="VMs that it is about and that the caller does not see.")
    hosts = NamedSerializer(many=True)


class RebalancePlanSerializer(serializers.Serializer):
    """What rebalancing a cluster would do, as is observed now."""

    verdict = serializers.CharField(help_text="Why there are these moves, or none.")
    moves = MoveSerializer(many=True)
    unmet = UnmetSerializer(many=True)
    hidden = serializers.IntegerField(help_text="Moves of VMs that the caller does not see.")
    before = StandingSerializer(allow_null=True)
    after = StandingSerializer(allow_null=True)
    unknown_loads = serializers.IntegerField(help_text="VMs whose use of the CPU is not known yet.")
    needs_approval = serializers.BooleanField(help_text="Whether somebody else would have to approve it.")


def plan_shown(onlooker: User, proposal: Proposal, *, needs_approval: bool) -> dict[str, Any]:
    """A plan as `RebalancePlanSerializer` takes it."""
    figures, told = proposal.figures, plan_told(onlooker, written(proposal))
    facts = {name: figures[name] for name in ("verdict", "before", "after", "unknown_loads")}
    return facts | _parts(told) | {"needs_approval": needs_approval}


def result_shown(onlooker: User, job: Job) -> dict[str, Any]:
    """A job's result; of one that planned for a cluster, with as much of the plan as the onlooker may know."""
    plan = job.journal.get("plan") if job.operation == OPERATION else None
    if plan is None:
        return job.result
    parts = _parts(plan_told(onlooker, plan))
    moves, unmet = MoveSerializer(parts["moves"], many=True), UnmetSerializer(parts["unmet"], many=True)
    return job.result | {"moves": moves.data, "unmet": unmet.data, "hidden": parts["hidden"]}


def _parts(told: ToldPlan) -> dict[str, Any]:
    return {"moves": told.moves, "unmet": told.unmet, "hidden": told.hidden}
