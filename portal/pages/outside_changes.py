"""What was changed outside the portal: taking note of it, and saying where it alarms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.urls import reverse

from access import gate
from access.actions import Action
from inventory.models import VM, Alarm, Segment
from inventory.services.segments import segment_set_silent
from jobs.attribution import changes_acknowledge
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.approvals import NoteForm
from portal.pages.forms.base import PortalForm


class AcknowledgeForm(NoteForm):
    """The last change that was shown, and a word about it."""

    up_to = forms.IntegerField(min_value=0, widget=forms.HiddenInput)


class AcknowledgeChanges(ServicePage):
    """All changes of one VM that nobody has taken note of yet, as far as they were shown."""

    declared_action = Action.VIEW
    section = "vms"
    form_class = AcknowledgeForm
    heading = "Acknowledge what changed from outside"
    submit_label = "Acknowledge"

    def prepare(self) -> None:
        user: Any = self.request.user
        self.vm: VM = visible_or_404(self.request, VM.objects.all(), self.kwargs["pk"])
        if not gate.can(user, Action.READ_AUDIT):
            gate.authorise(user, Action.APPROVE, self.vm)

    def get_initial(self) -> dict[str, Any]:
        return {"up_to": self.vm.changes.order_by("-pk").values_list("pk", flat=True).first() or 0}

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: AcknowledgeForm) -> str:
        changes_acknowledge(actor=self.request.user, vm=self.vm, **form.cleaned_data)  # type: ignore[arg-type]
        return self.back_url()


class AlarmsForm(PortalForm):
    """The groups of changes that alarm in a segment."""

    alarms = forms.MultipleChoiceField(
        choices=Alarm.choices, required=False, widget=forms.CheckboxSelectMultiple, label="Changes that alarm"
    )


class SegmentAlarms(ServicePage):
    """Which changes from outside alarm in a segment; all of them are recorded."""

    declared_action = Action.GRANT
    section = "segments"
    form_class = AlarmsForm
    heading = "Alarms for changes from outside"
    body_template = "segments/forms/alarms.html"

    def prepare(self) -> None:
        self.segment: Segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"])
        gate.authorise(self.request.user, Action.GRANT)  # type: ignore[arg-type]

    def get_initial(self) -> dict[str, Any]:
        return {"alarms": [name for name in Alarm.values if name not in self.segment.silent]}

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def perform(self, form: AlarmsForm) -> str:
        silent = set(Alarm.values) - set(form.cleaned_data["alarms"])
        segment_set_silent(actor=self.request.user, segment=self.segment, groups=silent)  # type: ignore[arg-type]
        messages.success(self.request, f"The alarms of {self.segment} are set.")
        return self.back_url()
