"""VMs: the list, and one VM with everything known about it."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.models import AuditEvent
from inventory.models import VM, Definition, Host, Segment, Sighting
from jobs.baselines import outlook as baseline_outlook
from jobs.models import Job
from portal.declared import SIGNED_IN
from portal.pages.attention import HAS_BASELINE, HAS_FOREIGN_NIC
from portal.pages.base import ListPage, Page, visible_or_404
from portal.pages.forms.vm_filter import SORTS, VMFilter, ordered
from portal.pages.snapshot_tree import tree
from portal.pages.vm_actions import buttons, settled_refusal

JOBS_SHOWN = 8
EVENTS_SHOWN = 12
OUTSIDE_SHOWN = 10


class VMList(ListPage):
    """The VMs that the user sees. Costs the same number of SQL statements however many there are."""

    declared_action = SIGNED_IN
    section = "vms"
    template_name = "vms/list.html"
    fragment_name = "vms/_results.html"

    def get_queryset(self) -> QuerySet[VM]:
        self.filter = VMFilter(self.request.user, self.request.GET or None)
        self.sort = self.request.GET.get("sort", "name")
        vms = for_list(VM.objects.visible_to(self.request.user))
        narrowed = self.filter.apply(vms) if self.filter.is_bound else vms
        return ordered(narrowed, self.sort)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(filter=self.filter, sort=self.sort, columns=columns(self.sort), **kwargs)


def for_list(vms: QuerySet[VM]) -> QuerySet[VM]:
    """VMs with what a row shows: segment, host, the job that holds them, findings."""
    active = Prefetch("jobs", queryset=Job.objects.active().order_by("created_at"), to_attr="active_jobs")
    return (
        vms.select_related("segment", "host")
        .defer("disks", "description")
        .annotate(has_baseline=HAS_BASELINE, has_foreign_nic=HAS_FOREIGN_NIC)
        .prefetch_related(active)
    )


def columns(sort: str) -> dict[str, dict[str, str]]:
    """For each sortable column: what a click on it sorts by, and how it is sorted now (for `aria-sort`)."""
    state = {sort.removeprefix("-"): "descending" if sort.startswith("-") else "ascending"}
    return {
        name: {"next": f"-{name}" if state.get(name) == "ascending" else name, "now": state.get(name, "")}
        for name in SORTS
    }


class VMDetail(Page):
    """One VM: facts with their age, what may be done, snapshots, jobs, and its record for who may read it."""

    declared_action = Action.VIEW
    section = "vms"
    template_name = "vms/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        vms = VM.objects.select_related("segment", "host__cluster")
        vm = visible_or_404(self.request, vms, self.kwargs["pk"])
        held = gate.actions_on(user, [vm])[vm.pk]
        busy = vm.jobs.active().order_by("created_at").first()
        shown = vm.snapshots.select_related("created_by").order_by("created_at", "name")
        return super().get_context_data(
            vm=vm,
            held={action.value for action in held},
            busy=busy,
            buttons=buttons(user, vm, held, busy),
            snapshot_refusal=settled_refusal(vm, busy),
            tree=tree(list(shown)),
            baseline=next((row for row in shown if row.is_baseline and row.missing_since is None), None),
            outlook=baseline_outlook(vm, timezone.now()),
            nics=nics_of(user, vm),
            jobs=vm.jobs.select_related("requested_by").order_by("-created_at")[:JOBS_SHOWN],
            events=_events(vm) if Action.READ_AUDIT in held else None,
            sightings=Sighting.objects.filter(uuid=vm.uuid, gone_at=None).select_related("host") if vm.is_split else [],
            outside=list(vm.changes.alarming()[:OUTSIDE_SHOWN]),
            differs=Definition.objects.filter(vm=vm).values_list("differs", flat=True).first(),
            may_acknowledge=Action.APPROVE in held or Action.READ_AUDIT in held,
            **_links(user, vm),
            **kwargs,
        )


class VMBusy(Page):
    """The strip that follows the job which holds the VM; the page is loaded anew when there is none any more."""

    declared_action = Action.VIEW
    template_name = "vms/_busy.html"

    def prepare(self) -> None:
        self.vm: VM = visible_or_404(self.request, VM.objects.all(), self.kwargs["pk"])

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.busy = self.vm.jobs.active().order_by("created_at").first()
        if self.busy is None:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vm=self.vm, busy=self.busy, **kwargs)


def nics_of(user: Actor, vm: VM) -> list[dict[str, Any]]:
    """The VM's network cards; a foreign segment is named only to who sees it."""
    nics = list(vm.nics.select_related("foreign_segment"))
    named = set(
        Segment.objects.visible_to(user)
        .filter(pk__in=[nic.foreign_segment_id for nic in nics if nic.foreign_segment_id])
        .values_list("pk", flat=True)
    )
    return [{"nic": nic, "foreign_name": _name_if(nic.foreign_segment, named)} for nic in nics]


def _name_if(segment: Segment | None, named: set[int]) -> str:
    if segment is None:
        return ""
    return segment.name if segment.pk in named else "another segment"


def _links(user: Actor, vm: VM) -> dict[str, bool]:
    """Whether the names of host and segment lead anywhere for this user."""
    return {
        "host_is_visible": Host.objects.visible_to(user).filter(pk=vm.host_id).exists(),
        "segment_is_visible": Segment.objects.visible_to(user).filter(pk=vm.segment_id).exists(),
    }


def _events(vm: VM) -> QuerySet[AuditEvent]:
    """What happened to the VM, its snapshots and its jobs, newest first."""
    return AuditEvent.objects.filter(object_uuid=str(vm.uuid)).order_by("-id")[:EVENTS_SHOWN]
