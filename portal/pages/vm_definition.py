"""The definition that a VM's host keeps, beside the approved one: what differs, and the two ways to settle it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404
from django.urls import reverse

from access import gate
from access.actions import Action
from inventory.approved import definition_approve, difference
from inventory.models import VM, Definition
from portal.pages.base import Page, ServicePage, visible_or_404
from portal.pages.forms.approvals import NoteForm
from portal.pages.forms.operations import ConfirmForm
from portal.pages.operations import OperationPage
from portal.pages.vm_actions import settled_refusal


class VMDefinition(Page):
    """What the host keeps, what was approved, by whom, and the lines between the two."""

    declared_action = Action.VIEW
    section = "vms"
    template_name = "vms/definition.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        vm: VM = visible_or_404(self.request, VM.objects.select_related("host"), self.kwargs["pk"])
        definition = Definition.objects.select_related("approved_by").filter(vm=vm).first()
        busy = vm.jobs.active().order_by("created_at").first()
        return super().get_context_data(
            vm=vm,
            definition=definition,
            lines=difference(definition) if definition is not None and definition.differs else [],
            may_approve=gate.can(user, Action.APPROVE, vm),
            may_restore=gate.can(user, Action.EDIT, vm),
            refusal=settled_refusal(vm, busy),
            **kwargs,
        )


class ApproveForm(NoteForm):
    """What was looked at, and a word about it."""

    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)


class ApproveDefinition(ServicePage):
    """Say yes to the definition as it is."""

    declared_action = Action.APPROVE
    section = "vms"
    form_class = ApproveForm
    heading = "Approve the definition as it is"
    submit_label = "Approve"
    body_template = "vms/forms/approve_definition.html"

    def prepare(self) -> None:
        self.vm: VM = visible_or_404(self.request, VM.objects.all(), self.kwargs["pk"], Action.APPROVE)
        definition = Definition.objects.filter(vm=self.vm).first()
        if definition is None:
            raise Http404
        self.definition = definition

    def get_initial(self) -> dict[str, Any]:
        return {"seen": self.definition.digest}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(lines=difference(self.definition), **kwargs)

    def subject(self) -> str:
        return self.vm.name

    def back_url(self) -> str:
        return reverse("vm-definition", args=[self.vm.pk])

    def perform(self, form: ApproveForm) -> str:
        given = form.cleaned_data
        definition_approve(actor=self.request.user, vm=self.vm, seen=given["seen"], reason=given["note"])  # type: ignore[arg-type]
        return self.back_url()


class RestoreDefinition(OperationPage):
    """`vm.restore_definition`."""

    declared_action = Action.EDIT
    operation = "vm.restore_definition"
    form_class = ConfirmForm
    heading = "Restore the approved definition"
    submit_label = "Restore"
    body_template = "vms/forms/restore_definition.html"

    def back_url(self) -> str:
        return reverse("vm-definition", args=[self.vm.pk])
