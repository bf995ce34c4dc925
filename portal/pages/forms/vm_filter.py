"""The filters above a list of VMs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from hypervisor.types import PowerState
from inventory.models import VM, Host, Segment
from jobs.models import Job
from portal.pages.attention import VM_FINDINGS
from portal.pages.forms.base import PortalForm

NO_SEGMENT = "none"
FINDINGS = {
    "": "Any",
    "missing": "Not seen on any host",
    "split": "Run by two hosts",
    "changed_outside": "Changed outside the portal",
    "not_as_approved": "Not defined as approved",
    "foreign_nic": "On a foreign network",
    "no_baseline": "No baseline",
    "old_snapshot": "Old snapshots",
    "busy": "Being worked on",
}
_FINDING_FILTERS = {
    "missing": Q(missing_since__isnull=False),
    "split": Q(is_split=True) | Q(split_at__isnull=False),
    "changed_outside": Q(has_outside_change=True),
    "not_as_approved": Q(has_other_definition=True),
    "foreign_nic": Q(has_foreign_nic=True),
    "no_baseline": Q(has_baseline=False, missing_since__isnull=True),
    "old_snapshot": Q(has_old_snapshot=True),
}
#: What a column is sorted by; name and key follow, so that the order is always the same.
SORTS = {
    "name": "name",
    "segment": "segment__name",
    "host": "host__name",
    "state": "power_state",
    "memory": "memory_mib",
    "vcpus": "vcpus",
    "observed": "observed_at",
}


class VMFilter(PortalForm):
    """Search, segment, host, power state and finding; choices are what the user sees."""

    q = forms.CharField(
        label="Search", required=False, max_length=100, strip=True, widget=forms.TextInput(attrs={"type": "search"})
    )
    segment = forms.ChoiceField(required=False)
    host = forms.ChoiceField(required=False)
    state = forms.ChoiceField(label="Power", required=False)
    finding = forms.ChoiceField(required=False, choices=list(FINDINGS.items()))

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["q"].widget.attrs["placeholder"] = "Name or UUID"
        segments = [(str(pk), name) for pk, name in _names(Segment, user)]
        hosts = [(str(pk), name) for pk, name in _names(Host, user)]
        states = [(state.value, state.value.replace("_", " ").capitalize()) for state in PowerState]
        self.offer("segment", [("", "All"), *segments, (NO_SEGMENT, "In no segment")])
        self.offer("host", [("", "All"), *hosts])
        self.offer("state", [("", "Any"), *states])
        if not hosts:
            del self.fields["host"]

    @property
    def is_used(self) -> bool:
        """Whether anything is filtered."""
        return self.is_bound and any(self.data.get(name) for name in self.fields)

    def apply(self, vms: QuerySet[VM]) -> QuerySet[VM]:
        """Narrow the VMs; a value that is no choice finds nothing, rather than being passed over."""
        if not self.is_valid():
            return vms.none()
        chosen = self.cleaned_data
        vms = vms.annotate(**VM_FINDINGS)
        if chosen["q"]:
            vms = vms.filter(_named(chosen["q"]))
        if chosen["segment"] == NO_SEGMENT:
            vms = vms.filter(segment=None)
        elif chosen["segment"]:
            vms = vms.filter(segment=chosen["segment"])
        if chosen.get("host"):
            vms = vms.filter(host=chosen["host"])
        if chosen["state"]:
            vms = vms.filter(power_state=chosen["state"])
        return _found(vms, chosen["finding"])


def _names(model: Any, user: Any) -> list[tuple[int, str]]:
    return list(model.objects.visible_to(user).order_by("name").values_list("pk", "name"))


def _named(text: str) -> Q:
    is_uuid_like = len(text) >= 4 and all(char in "0123456789abcdefABCDEF-" for char in text)
    return Q(name__icontains=text) | (Q(uuid__istartswith=text) if is_uuid_like else Q())


def _found(vms: QuerySet[VM], finding: str) -> QuerySet[VM]:
    if finding == "busy":
        return vms.filter(pk__in=Job.objects.active().filter(vm__isnull=False).values("vm"))
    return vms.filter(_FINDING_FILTERS[finding]) if finding else vms


def ordered(vms: QuerySet[VM], sort: str) -> QuerySet[VM]:
    """Sorted by a column's name, downwards with "-" before it; by name when there is no such column."""
    column = SORTS.get(sort.removeprefix("-"), "name")
    return vms.order_by(f"-{column}" if sort.startswith("-") else column, "name", "pk")
