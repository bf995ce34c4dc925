"""Work on a VM, as forms: what it will do in plain words, then a job."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404
from django.urls import reverse

from access.actions import Action
from inventory.models import VM, Snapshot
from jobs.models import Job
from jobs.operations.migrate.destinations import destinations_for
from jobs.operations.migrate.policies import policy_named
from jobs.operations.registry import operation_named
from jobs.operations.snapshots.pause import pause_foretold
from jobs.states import State
from portal.pages.base import visible_or_404
from portal.pages.forms import operations as operation_forms
from portal.pages.work import WorkPage


class OperationPage(WorkPage):
    """A form that submits a job on a VM."""

    section = "vms"

    def prepare(self) -> None:
        vms = VM.objects.select_related("segment", "host__cluster")
        self.vm: VM = visible_or_404(self.request, vms, self.kwargs["pk"], operation_named(self.operation).action)
        self.target = self.vm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vm=self.vm, **kwargs)

    def back_url(self) -> str:
        return reverse("vm-detail", args=[self.vm.pk])


class TakeSnapshot(OperationPage):
    """`snapshot.create`."""

    declared_action = Action.SNAPSHOT
    operation = "snapshot.create"
    form_class = operation_forms.SnapshotForm
    heading = "Take a snapshot"
    submit_label = "Take snapshot"
    body_template = "vms/forms/snapshot.html"

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)
        del form.fields["replace" if self.vm.baseline is None else "baseline"]
        return form

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(pause=pause_foretold(self.vm), present=self.vm.baseline, **kwargs)

    def params(self, form: operation_forms.OperationForm) -> dict[str, Any]:
        params = super().params(form)
        return params | {"baseline": True} if params.get("replace") else params


class SnapshotPage(OperationPage):
    """Work on one snapshot of the VM."""

    snapshot: Snapshot

    def prepare(self) -> None:
        super().prepare()
        snapshots = Snapshot.objects.select_related("created_by").filter(missing_since=None)
        self.snapshot = visible_or_404(self.request, snapshots, self.kwargs["snapshot"], vm=self.vm)

    def subject(self) -> str:
        return f"{self.vm.name}: {self.snapshot.name}"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        later = self.vm.snapshots.filter(created_at__gt=self.snapshot.created_at, missing_since=None)
        return super().get_context_data(snapshot=self.snapshot, later_count=later.count(), **kwargs)

    def params(self, form: operation_forms.OperationForm) -> dict[str, Any]:
        return form.params() | {"snapshot": self.snapshot.name}


class Revert(SnapshotPage):
    """`snapshot.revert`."""

    declared_action = Action.REVERT
    operation = "snapshot.revert"
    form_class = operation_forms.RevertForm
    heading = "Go back to a snapshot"
    submit_label = "Revert"
    is_dangerous = True
    body_template = "vms/forms/revert.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(pause=pause_foretold(self.vm), **kwargs)


class DeleteSnapshot(SnapshotPage):
    """`snapshot.delete`."""

    declared_action = Action.DELETE_SNAPSHOT
    operation = "snapshot.delete"
    form_class = operation_forms.ConfirmForm
    heading = "Delete a snapshot"
    submit_label = "Delete snapshot"
    is_dangerous = True
    body_template = "vms/forms/delete_snapshot.html"


class PatchPage(OperationPage):
    """`vm.patch`."""

    declared_action = Action.PATCH
    operation = "vm.patch"
    form_class = operation_forms.PatchForm
    heading = "Patch"
    submit_label = "Patch"
    body_template = "vms/forms/patch.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(last=last_success(self.vm, self.operation), **kwargs)


class MigratePage(OperationPage):
    """`vm.migrate`."""

    declared_action = Action.MIGRATE
    operation = "vm.migrate"
    form_class = operation_forms.MigrateForm
    heading = "Migrate"
    submit_label = "Migrate"
    body_template = "vms/forms/migrate.html"

    def prepare(self) -> None:
        super().prepare()
        self.destinations = destinations_for(self.request.user, self.vm)  # type: ignore[arg-type]

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"destinations": self.destinations}

    def get_initial(self) -> dict[str, Any]:
        return super().get_initial() | {"policy": self.vm.policy_of_migrations.value}

    def chosen(self) -> str:
        return "vm.migrate_preview" if "look_first" in self.request.POST else self.operation

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            can_look_first=True,
            policies=operation_forms.POLICIES,
            default_cap_ms=policy_named("gentle", None).max_downtime_ms,
            has_destinations=self.destinations.exists(),
            snapshot_count=self.vm.snapshots.filter(missing_since=None).count(),
            last=last_success(self.vm, self.operation),
            **kwargs,
        )


#: What each switch does, in words, and how its form looks.
POWER: dict[str, dict[str, Any]] = {
    "start": {"heading": "Start", "form": operation_forms.ConfirmForm},
    "shutdown": {"heading": "Shut down", "form": operation_forms.TimeoutForm},
    "reboot": {"heading": "Reboot", "form": operation_forms.TimeoutForm},
    "force_off": {"heading": "Force off", "form": operation_forms.ConfirmForm, "dangerous": True},
}


class PowerPage(OperationPage):
    """`vm.start`, `vm.shutdown`, `vm.reboot`, `vm.force_off`."""

    declared_action = Action.POWER
    body_template = "vms/forms/power.html"

    def prepare(self) -> None:
        switch = POWER.get(self.kwargs["verb"])
        if switch is None:
            raise Http404
        self.switch = switch
        self.operation = f"vm.{self.kwargs['verb']}"
        super().prepare()

    def get_form_class(self) -> type[forms.Form]:
        chosen: type[forms.Form] = self.switch["form"]
        return chosen

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        heading = self.switch["heading"]
        return super().get_context_data(
            heading=heading,
            submit_label=heading,
            is_dangerous=self.switch.get("dangerous", False),
            verb=self.kwargs["verb"],
            **kwargs,
        )


def last_success(vm: VM, operation: str) -> Job | None:
    """The VM's last job of that kind that succeeded: what it took then is the best forecast there is."""
    done = vm.jobs.filter(operation=operation, state=State.SUCCEEDED).order_by("-finished_at")
    found: Job | None = done.first()
    return found
