"""When VMs get their baseline by themselves."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.urls import reverse
from django.utils import timezone

from access.actions import Action
from inventory.models import VM, BaselinePolicy, Segment
from inventory.services.baselines import LONGEST_PAUSE, segment_set_baseline, vm_set_installed
from jobs.baselines import outlook
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.base import PortalForm


class SegmentBaselineForm(PortalForm):
    """A segment's policy."""

    policy = forms.ChoiceField(label="A VM of it gets its baseline", choices=BaselinePolicy.choices)
    longest_pause = forms.IntegerField(
        label="A running VM may stand still for it for at most, in seconds",
        min_value=0,
        max_value=LONGEST_PAUSE,
        help_text="One that would stand still for longer gets it once it is off. 0: only while it is off.",
    )


class InstalledForm(PortalForm):
    """Whether a VM is installed."""

    installed = forms.BooleanField(label="It is installed, and may have its baseline", required=False)


class SegmentBaseline(ServicePage):
    """Of one segment."""

    declared_action = Action.EDIT
    section = "segments"
    heading = "Baselines"
    form_class = SegmentBaselineForm

    def prepare(self) -> None:
        self.segment: Segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"], Action.EDIT)

    def get_initial(self) -> dict[str, Any]:
        return {"policy": self.segment.baseline_policy, "longest_pause": self.segment.longest_baseline_pause}

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def perform(self, form: SegmentBaselineForm) -> str:
        segment_set_baseline(actor=self.request.user, segment=self.segment, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(self.request, f"When VMs of {self.segment} get their baseline is set.")
        return self.back_url()


class VMInstalled(ServicePage):
    """Of one VM."""

    declared_action = Action.SNAPSHOT
    section = "vms"
    heading = "Installed"
    form_class = InstalledForm
    body_template = "vms/forms/installed.html"

    def prepare(self) -> None:
        vms = VM.objects.select_related("segment", "host")
        self.vm: VM = visible_or_404(self.request, vms, self.kwargs["pk"], Action.SNAPSHOT)

    def get_initial(self) -> dict[str, Any]:
        return {"installed": self.vm.installed_at is not None}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vm=self.vm, outlook=outlook(self.vm, timezone.now()), **kwargs)

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: InstalledForm) -> str:
        vm = vm_set_installed(actor=self.request.user, vm=self.vm, **form.cleaned_data)  # type: ignore[arg-type]
        said = "is marked as installed" if vm.installed_at else "is not marked as installed"
        messages.success(self.request, f"{self.vm} {said}.")
        return self.back_url()
