"""Putting a VM into a segment."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.urls import reverse

from access.actions import Action
from inventory.models import VM
from inventory.services.segments import vm_assign_segment
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.segment_choice import SegmentChoiceForm


class AssignSegment(ServicePage):
    """Which segment a VM is in decides who sees it."""

    declared_action = Action.ASSIGN_SEGMENT
    section = "vms"
    form_class = SegmentChoiceForm
    heading = "Assign to a segment"
    submit_label = "Assign"
    body_template = "vms/forms/segment.html"

    def prepare(self) -> None:
        vms = VM.objects.select_related("segment")
        self.vm: VM = visible_or_404(self.request, vms, self.kwargs["pk"], Action.ASSIGN_SEGMENT)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.request.user}

    def get_initial(self) -> dict[str, Any]:
        return {"segment": self.vm.segment_id}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vm=self.vm, **kwargs)

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: SegmentChoiceForm) -> str:
        segment, reason = form.cleaned_data["segment"], form.cleaned_data["reason"]
        vm = vm_assign_segment(actor=self.request.user, vm=self.vm, segment=segment, reason=reason)  # type: ignore[arg-type]
        messages.success(self.request, f"{vm} is in {f'segment {segment}' if segment else 'no segment'} now.")
        if VM.objects.visible_to(self.request.user).filter(pk=vm.pk).exists():
            return self.back_url()
        return reverse("vm-list")
