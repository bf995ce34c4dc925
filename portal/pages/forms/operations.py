"""Forms that become jobs: each turns its fields into the parameters of an operation."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.db.models import QuerySet

from inventory.models import Host
from inventory.services.snapshots import LONGEST_HOURS
from portal.pages.forms.base import PortalForm


class OperationForm(PortalForm):
    """A form that becomes a job. Sent twice, it becomes one job: `key` is its Idempotency-Key."""

    key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].initial = uuid4

    def params(self) -> dict[str, Any]:
        """The operation's parameters, of what was filled in."""
        return {name: value for name, value in self.cleaned_data.items() if name != "key" and value not in (None, "")}

    def renew(self) -> None:
        """Give the form a new key, when it is shown again."""
        self.data = self.data.copy()
        self.data[self.add_prefix("key")] = str(uuid4())


class SnapshotForm(OperationForm):
    """`snapshot.create`."""

    name = forms.CharField(
        required=False, max_length=100, help_text="Left empty, it is named after the time.", strip=True
    )
    description = forms.CharField(
        label="What for", required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2})
    )
    baseline = forms.BooleanField(
        label="Make it the baseline: the state to fall back to, protected from deletion", required=False
    )
    replace = forms.BooleanField(
        label="Make it the baseline in place of the present one, which a second person must approve", required=False
    )
    longest_pause_seconds = forms.IntegerField(
        label="Refuse if it would stand still for longer than, in seconds", required=False, min_value=0, max_value=3600
    )
    keep_hours = forms.IntegerField(
        label="Delete it by itself in so many hours",
        required=False,
        min_value=1,
        max_value=LONGEST_HOURS,
        help_text="Left empty, it stays until somebody deletes it.",
    )
    advanced = ("longest_pause_seconds", "keep_hours")


class RevertForm(OperationForm):
    """`snapshot.revert`."""

    safety = forms.BooleanField(
        label="Take a snapshot of the VM as it is now first, so that there is a way back from this",
        required=False,
        initial=True,
    )
    understood = forms.BooleanField(label="What came after the snapshot may be lost")

    def params(self) -> dict[str, Any]:
        return {"safety": self.cleaned_data["safety"]}


class ConfirmForm(OperationForm):
    """An operation that takes no parameters: a button, and what it does in words."""


class TimeoutForm(OperationForm):
    """`vm.shutdown` and `vm.reboot`."""

    timeout_seconds = forms.IntegerField(
        label="Wait at most, in seconds", required=False, min_value=5, max_value=3600, help_text="5 to 3600."
    )
    advanced = ("timeout_seconds",)


class PatchForm(OperationForm):
    """`vm.patch`."""

    probation_seconds = forms.IntegerField(
        label="Probation, in seconds",
        required=False,
        min_value=0,
        max_value=600,
        help_text="The guest's health is checked at once and again after this time. 5 if left empty.",
    )
    timeout_seconds = forms.IntegerField(
        label="Wait for the update at most, in seconds",
        required=False,
        min_value=30,
        max_value=14_400,
        help_text="30 to 14,400. 1800 if left empty.",
    )
    advanced = ("probation_seconds", "timeout_seconds")


POLICIES = [
    ("gentle", "Gentle", "Pauses the guest for 0.5 s at most. If that does not suffice, the VM stays where it is."),
    (
        "assured",
        "Assured",
        "Tries it gently; if the guest writes faster than the link carries, lets it run at the destination at once and"
        " fetches the rest from there (post-copy). It always ends, but if the link fails meanwhile, the guest is lost.",
    ),
    (
        "pause-ok",
        "Pause allowed",
        "Tries it gently; if it makes no headway, stops the guest for the rest, for up to 5 s.",
    ),
    (
        "large",
        "Large",
        "For much memory: pauses of up to 1.5 s from the start, and of up to 5 s if it makes no headway.",
    ),
]


class MovesForm(OperationForm):
    """Work that lets several VMs migrate."""

    policy = forms.ChoiceField(
        label="How far each migration may go for its end",
        choices=[("", "As each VM's own policy says"), *((value, label) for value, label, _ in POLICIES)],
        required=False,
    )
    bandwidth_mib = forms.IntegerField(
        label="Bandwidth cap of each, in MiB/s",
        required=False,
        min_value=1,
        max_value=1_000_000,
        help_text="None if left empty.",
    )


class DestinationField(forms.ModelChoiceField):
    """Hosts that can take the VM, with the room they have."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name}, {max(obj.memory_free_mib - obj.reserved_mib, 0) / 1024:.1f} GiB free"


class MigrateForm(OperationForm):
    """`vm.migrate`; the destinations are those on which the user may place the VM."""

    destination = DestinationField(
        queryset=Host.objects.none(), required=False, empty_label="The one with the most free memory"
    )
    policy = forms.ChoiceField(choices=[(value, label) for value, label, _ in POLICIES], widget=forms.RadioSelect)
    max_downtime_ms = forms.IntegerField(
        label="Longest pause, in milliseconds",
        required=False,
        min_value=1,
        max_value=2_000_000,
        help_text="Instead of the policy's own.",
    )
    bandwidth_mib = forms.IntegerField(
        label="Bandwidth cap, in MiB/s",
        required=False,
        min_value=1,
        max_value=1_000_000,
        help_text="None if left empty.",
    )
    copy_disks = forms.BooleanField(
        label="Copy the disks that the hosts do not share",
        required=False,
        help_text="The files here are kept for a day and then removed. Snapshots inside the disks stand in the way.",
    )
    advanced = ("max_downtime_ms", "bandwidth_mib", "copy_disks")

    def __init__(self, destinations: QuerySet[Host], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.narrow("destination", destinations)

    def params(self) -> dict[str, Any]:
        params = super().params()
        if "destination" in params:
            params["destination"] = params["destination"].pk
        return params
