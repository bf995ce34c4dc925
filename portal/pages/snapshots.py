"""What people say about a snapshot that is there."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.urls import reverse

from access.actions import Action
from inventory.models import VM, Snapshot
from inventory.services.snapshots import LONGEST_HOURS, snapshot_set_expiry
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.base import PortalForm


class ExpiryForm(PortalForm):
    """How long a snapshot stays."""

    hours = forms.IntegerField(
        label="Delete it by itself in so many hours",
        required=False,
        min_value=1,
        max_value=LONGEST_HOURS,
        help_text="Left empty, it stays until somebody deletes it.",
    )


class SnapshotExpiry(ServicePage):
    """When a snapshot goes by itself."""

    declared_action = Action.DELETE_SNAPSHOT
    section = "vms"
    heading = "How long it stays"
    form_class = ExpiryForm
    body_template = "vms/forms/expiry.html"

    def prepare(self) -> None:
        vms = VM.objects.select_related("segment")
        self.vm: VM = visible_or_404(self.request, vms, self.kwargs["pk"], Action.DELETE_SNAPSHOT)
        snapshots = Snapshot.objects.filter(missing_since=None)
        self.snapshot: Snapshot = visible_or_404(self.request, snapshots, self.kwargs["snapshot"], vm=self.vm)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(snapshot=self.snapshot, **kwargs)

    def subject(self) -> str:
        return f"{self.vm.name}: {self.snapshot.name}"

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])

    def perform(self, form: ExpiryForm) -> str:
        kept = snapshot_set_expiry(actor=self.request.user, snapshot=self.snapshot, **form.cleaned_data)  # type: ignore[arg-type]
        until = f"goes by itself at {kept.expires_at:%Y-%m-%d %H:%M} UTC" if kept.expires_at else "stays"
        messages.success(self.request, f"{kept.name} {until}.")
        return self.back_url()
