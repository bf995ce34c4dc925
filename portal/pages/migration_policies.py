"""How far the migrations of a VM, or of a segment's VMs, may go."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.urls import reverse

from access.actions import Action
from inventory.models import VM, Segment
from inventory.services.migration import segment_set_migration, vm_set_migration
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.base import PortalForm
from portal.pages.forms.operations import POLICIES

_CHOICES = [(value, label) for value, label, _ in POLICIES]


class SegmentPolicyForm(PortalForm):
    """A segment's policy."""

    policy = forms.ChoiceField(
        label="How far the migrations of its VMs may go for their end",
        choices=[("", "Nothing said: gently"), *_CHOICES],
        required=False,
    )


class VMPolicyForm(PortalForm):
    """A VM's policy, and where its pause is measured."""

    policy = forms.ChoiceField(
        label="How far its migrations may go for their end",
        choices=[("", "As its segment says"), *_CHOICES],
        required=False,
    )
    address = forms.GenericIPAddressField(
        label="Its address, for measuring the pause from outside",
        required=False,
        help_text="While it migrates, it is asked for an echo every 20 ms. Not measured if left empty.",
    )


class PolicyPage(ServicePage):
    """What both have in common."""

    heading = "Migrations"
    body_template = "vms/forms/migration_policy.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(policies=POLICIES, **kwargs)


class VMMigrationPolicy(PolicyPage):
    """Of one VM."""

    declared_action = Action.EDIT
    section = "vms"
    form_class = VMPolicyForm

    def prepare(self) -> None:
        vms = VM.objects.select_related("segment")
        self.vm: VM = visible_or_404(self.request, vms, self.kwargs["pk"], Action.EDIT)

    def get_initial(self) -> dict[str, Any]:
        return {"policy": self.vm.migration_policy, "address": self.vm.probe_address}

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: VMPolicyForm) -> str:
        vm_set_migration(actor=self.request.user, vm=self.vm, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(self.request, f"The policy of {self.vm} is set.")
        return self.back_url()


class SegmentMigrationPolicy(PolicyPage):
    """Of the VMs of a segment that say nothing themselves."""

    declared_action = Action.EDIT
    section = "segments"
    form_class = SegmentPolicyForm

    def prepare(self) -> None:
        segments = Segment.objects.all()
        self.segment: Segment = visible_or_404(self.request, segments, self.kwargs["pk"], Action.EDIT)

    def get_initial(self) -> dict[str, Any]:
        return {"policy": self.segment.migration_policy}

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def perform(self, form: SegmentPolicyForm) -> str:
        segment_set_migration(actor=self.request.user, segment=self.segment, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(self.request, f"The policy of {self.segment} is set.")
        return self.back_url()
