"""Taking note of what was changed on a VM outside the portal."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from access import gate
from access.actions import Action
from inventory.models import VM
from jobs.attribution import changes_acknowledge
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.approvals import NoteForm


class AcknowledgeChanges(ServicePage):
    """All changes of one VM that nobody has taken note of yet."""

    declared_action = Action.VIEW
    section = "vms"
    form_class = NoteForm
    heading = "Acknowledge what changed from outside"
    submit_label = "Acknowledge"

    def prepare(self) -> None:
        user: Any = self.request.user
        self.vm: VM = visible_or_404(self.request, VM.objects.all(), self.kwargs["pk"])
        if not gate.can(user, Action.READ_AUDIT):
            gate.authorise(user, Action.APPROVE, self.vm)

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: NoteForm) -> str:
        changes_acknowledge(actor=self.request.user, vm=self.vm, note=form.cleaned_data["note"])  # type: ignore[arg-type]
        return self.back_url()
