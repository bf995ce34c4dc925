"""Work on a host: emptying it for maintenance, and bringing it back."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import Any

from django.urls import reverse

from access.actions import Action
from inventory.models import VM, Host
from jobs.operations.hosts.paths import proved_with
from jobs.operations.hosts.survey import outlook
from jobs.operations.registry import operation_named
from portal.pages.base import visible_or_404
from portal.pages.forms import host_work as host_forms
from portal.pages.forms.operations import ConfirmForm
from portal.pages.work import WorkPage


class HostWorkPage(WorkPage):
    """A form that submits a job on a host."""

    declared_action = Action.OPERATE_HOST
    section = "hosts"

    def prepare(self) -> None:
        hosts = Host.objects.select_related("cluster")
        self.host: Host = visible_or_404(self.request, hosts, self.kwargs["pk"], Action.OPERATE_HOST)
        self.target = self.host

    @cached_property
    def extent(self) -> list[int]:
        kind = operation_named(self.operation)
        return kind.extent(self.request.user, self.host, dict(self.usual))  # type: ignore[arg-type]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(host=self.host, **kwargs)

    def back_url(self) -> str:
        return reverse("host-detail", args=[self.host.pk])


class DrainHost(HostWorkPage):
    """`host.drain`: the whole plan first."""

    operation = "host.drain"
    form_class = host_forms.DrainForm
    heading = "Empty the host"
    submit_label = "Drain"
    body_template = "hosts/forms/drain.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        plan = outlook(self.request.user, self.host)  # type: ignore[arg-type]
        stuck = [(vm, obstacle.why) for vm, obstacle in plan.stuck.values()]
        return super().get_context_data(plan=plan, stuck=stuck, choices=host_forms.UNMOVABLE, **kwargs)


class ProvePaths(HostWorkPage):
    """`host.prove_paths`: which ways would be proved."""

    operation = "host.prove_paths"
    form_class = ConfirmForm
    heading = "Prove the paths"
    submit_label = "Prove"
    body_template = "hosts/forms/prove.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(others=proved_with(self.request.user, self.host), **kwargs)


class ActivateHost(HostWorkPage):
    """`host.activate`: what would come home."""

    operation = "host.activate"
    form_class = host_forms.ActivateForm
    heading = "End the maintenance"
    submit_label = "Activate"
    body_template = "hosts/forms/activate.html"
    usual = MappingProxyType({"return_home": True})

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        coming = VM.objects.filter(pk__in=self.extent)  # which the user sees
        return super().get_context_data(coming=coming.select_related("host").order_by("name"), **kwargs)
