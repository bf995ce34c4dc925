"""Clusters: how evenly their hosts are used, the placement rules, and what would be moved."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from django.contrib import messages
from django.urls import reverse

from access import gate
from access.actions import Action
from inventory.models import Cluster, Host, PlacementRule
from inventory.rules_seen import rules_seen
from inventory.services.hosts import cluster_change
from inventory.services.placement import (
    host_set_reserved,
    placement_rule_create,
    placement_rule_delete,
)
from jobs.balancing.board import Board
from jobs.balancing.planner import standing
from jobs.models import Job, Look
from jobs.operations.rebalance.proposal import policy_for, propose, written
from jobs.operations.rebalance.reading import read
from jobs.plan_told import plan_told
from portal.pages.base import Page, ServicePage, visible_or_404
from portal.pages.cluster_load import host_loads, spreads
from portal.pages.forms import clusters as cluster_forms
from portal.pages.forms.approvals import ReasonForm
from portal.pages.work import WorkPage


class ClusterDetail(Page):
    """One cluster; the plan for who may carry it out."""

    declared_action = Action.VIEW
    section = "hosts"
    template_name = "clusters/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        cluster: Cluster = visible_or_404(self.request, Cluster.objects.all(), self.kwargs["pk"])
        may_operate = gate.can(user, Action.OPERATE_HOST, cluster)
        found = propose(user, cluster) if may_operate else None
        reading = found.reading if found else read(user, cluster)
        before = standing(Board(reading.estate, policy_for(0))) if reading else None
        hosts = list(Host.objects.visible_to(user).filter(cluster=cluster).order_by("name"))
        rules = PlacementRule.objects.filter(cluster=cluster).prefetch_related("vms", "hosts").order_by("name")
        working = Job.objects.active().filter(cluster=cluster).first()
        return super().get_context_data(
            cluster=cluster,
            rows=host_loads(hosts, reading),
            spreads=spreads(before.over_mean) if before else [],
            stranded_mib=round(before.stranded_mib) if before else 0,
            vm_count=len(reading.vms) if reading else 0,
            unknown=reading.unknown if reading else 0,
            rules=rules_seen(user, list(rules)),
            figures=found.figures if found else None,
            told=plan_told(user, written(found)) if found else None,
            look=Look.objects.filter(cluster=cluster).first() if cluster.balancing != Cluster.Balancing.OFF else None,
            working=working,
            may_operate=may_operate,
            run_form=cluster_forms.RebalanceForm() if found and found.moves and working is None else None,
            **kwargs,
        )


class ClusterPage(ServicePage):
    """A form about a cluster, for who operates its hosts."""

    declared_action = Action.OPERATE_HOST
    section = "hosts"
    cluster: Cluster

    def prepare(self) -> None:
        clusters = Cluster.objects.all()
        self.cluster = visible_or_404(self.request, clusters, self.kwargs["pk"], Action.OPERATE_HOST)

    def subject(self) -> str:
        return str(self.cluster)

    def back_url(self) -> str:
        return reverse("cluster-detail", args=[self.cluster.pk])


class RebalanceCluster(WorkPage):
    """`cluster.rebalance`: by one click from the cluster's page, or with what is chosen here."""

    declared_action = Action.OPERATE_HOST
    section = "hosts"
    operation = "cluster.rebalance"
    form_class = cluster_forms.RebalanceForm
    heading = "Rebalance the cluster"
    submit_label = "Run the plan"
    body_template = "clusters/forms/rebalance.html"
    usual: ClassVar[Any] = MappingProxyType({"mode": "run"})

    def prepare(self) -> None:
        clusters = Cluster.objects.all()
        self.cluster: Cluster = visible_or_404(self.request, clusters, self.kwargs["pk"], Action.OPERATE_HOST)
        self.target = self.cluster

    @cached_property
    def proposal(self) -> Any:
        """What would be done, as is observed now."""
        return propose(self.request.user, self.cluster)  # type: ignore[arg-type]

    @cached_property
    def extent(self) -> list[int]:
        return [move.vm.pk for move in self.proposal.moves]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        told = plan_told(user, written(self.proposal))
        return super().get_context_data(figures=self.proposal.figures, told=told, **kwargs)

    def back_url(self) -> str:
        return reverse("cluster-detail", args=[self.cluster.pk])


class SetBalancing(ClusterPage):
    """What Slipway does by itself."""

    form_class = cluster_forms.BalancingForm
    heading = "Balancing"

    def get_initial(self) -> dict[str, Any]:
        return {"balancing": self.cluster.balancing}

    def perform(self, form: cluster_forms.BalancingForm) -> str:
        actor: Any = self.request.user
        cluster_change(actor=actor, cluster=self.cluster, balancing=form.cleaned_data["balancing"])
        return self.back_url()


class NewPlacementRule(ClusterPage):
    """Sets a rule."""

    form_class = cluster_forms.PlacementRuleForm
    heading = "New placement rule"
    submit_label = "Set rule"
    body_template = "clusters/forms/rule.html"

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.request.user, "cluster": self.cluster}

    def perform(self, form: cluster_forms.PlacementRuleForm) -> str:
        actor: Any = self.request.user
        rule = placement_rule_create(actor=actor, cluster=self.cluster, **form.parts())
        messages.success(self.request, f"The rule “{rule}” holds from now on.")
        return self.back_url()


class LiftPlacementRule(ClusterPage):
    """Lifts a rule."""

    form_class = ReasonForm
    heading = "Lift this placement rule?"
    submit_label = "Lift rule"
    is_dangerous = True

    def prepare(self) -> None:
        super().prepare()
        rules = PlacementRule.objects.select_related("cluster")
        self.rule: PlacementRule = visible_or_404(self.request, rules, self.kwargs["placement"], cluster=self.cluster)

    def subject(self) -> str:
        return f"{self.rule}: {self.rule.get_kind_display()}"

    def perform(self, form: ReasonForm) -> str:
        actor: Any = self.request.user
        placement_rule_delete(actor=actor, rule=self.rule, reason=form.cleaned_data["reason"])
        return self.back_url()


class ReserveMemory(ServicePage):
    """What a host keeps free of VMs."""

    declared_action = Action.OPERATE_HOST
    section = "hosts"
    form_class = cluster_forms.ReserveForm
    heading = "Memory that the host keeps"

    def prepare(self) -> None:
        hosts = Host.objects.select_related("cluster")
        self.host: Host = visible_or_404(self.request, hosts, self.kwargs["pk"], Action.OPERATE_HOST)

    def get_initial(self) -> dict[str, Any]:
        return {"reserved_mib": self.host.reserved_mib}

    def subject(self) -> str:
        return f"{self.host}, {self.host.memory_mib} MiB in all"

    def back_url(self) -> str:
        return reverse("host-detail", args=[self.host.pk])

    def perform(self, form: cluster_forms.ReserveForm) -> str:
        actor: Any = self.request.user
        host_set_reserved(actor=actor, host=self.host, mib=form.cleaned_data["reserved_mib"])
        return self.back_url()
