"""Hosts: whether they answer, what they have, and the user's VMs on them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views import View

from access import gate
from access.actions import Action
from inventory.leftovers import leftover_keep, leftovers_of
from inventory.models import VM, Cluster, Host
from inventory.paths import paths_of
from inventory.services.hosts import host_create, host_sync_requested
from jobs.models import Job
from jobs.tasks import sync_host
from portal.declared import SIGNED_IN
from portal.pages.base import ListPage, Page, PageMixin, ServicePage, visible_or_404
from portal.pages.forms.hosts import HostForm
from portal.pages.vms import for_list

#: VMs listed on a host's page; the rest is a click away in the list of VMs.
VMS_SHOWN = 100


class HostList(ListPage):
    """The hosts that the user sees, by cluster."""

    declared_action = SIGNED_IN
    section = "hosts"
    template_name = "hosts/list.html"
    fragment_name = "hosts/list.html"

    def get_queryset(self) -> QuerySet[Host]:
        return Host.objects.visible_to(self.request.user).select_related("cluster").order_by("cluster__name", "name")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        user = self.request.user
        on_hosts = VM.objects.visible_to(user).filter(host__in=[host.pk for host in context["object_list"]])
        counted = on_hosts.order_by().values_list("host").annotate(Count("pk"))
        context["vm_counts"] = dict(counted)
        clusters: Any = Cluster.objects.visible_to(user)
        context["seen_clusters"] = set(clusters.values_list("pk", flat=True))
        operated: Any = Host.objects.visible_to(user, Action.OPERATE_HOST)
        context["operated"] = set(operated.filter(pk__in=[host.pk for host in context["object_list"]]))
        context["may_enrol"] = Cluster.objects.visible_to(user, Action.OPERATE_HOST).exists()
        return context


class HostDetail(Page):
    """One host."""

    declared_action = Action.VIEW
    section = "hosts"
    template_name = "hosts/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        host = visible_or_404(self.request, Host.objects.select_related("cluster"), self.kwargs["pk"])
        vms = VM.objects.visible_to(user).filter(host=host)
        operates = gate.can(user, Action.OPERATE_HOST, host)
        leftovers, hidden = leftovers_of(host, VM.objects.visible_to(user))
        return super().get_context_data(
            host=host,
            vm_count=vms.count(),
            vms=for_list(vms).order_by("name", "pk")[:VMS_SHOWN],
            may_operate=operates,
            leftovers=leftovers if operates else [],
            leftovers_hidden=hidden if operates else 0,
            paths=paths_of(host, Host.objects.visible_to(user)),
            sees_cluster=gate.can(user, Action.VIEW, host.cluster),
            working=Job.objects.active().filter(host=host).first(),
            **kwargs,
        )


class ReadHost(PageMixin, View):
    """Asks for a host to be read now; a worker does it."""

    declared_action = Action.OPERATE_HOST
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        host = visible_or_404(request, Host.objects.all(), pk, Action.OPERATE_HOST)
        with transaction.atomic():
            host_sync_requested(actor=request.user, host=host)  # type: ignore[arg-type]
            transaction.on_commit(lambda: sync_host.apply_async(args=[host.pk, True], retry=False), robust=True)
        messages.info(request, f"{host} will be read in a moment.")
        return HttpResponseRedirect(reverse("host-detail", args=[host.pk]))


class KeepLeftover(PageMixin, View):
    """Has a file that a VM left behind stay for good."""

    declared_action = Action.OPERATE_HOST
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int, leftover: int) -> HttpResponse:
        host = visible_or_404(request, Host.objects.all(), pk, Action.OPERATE_HOST)
        seen, _hidden = leftovers_of(host, VM.objects.visible_to(request.user))
        found = next((one for one in seen if one.pk == leftover), None)
        if found is None:
            raise Http404
        leftover_keep(actor=request.user, leftover=found)  # type: ignore[arg-type]
        messages.info(request, f"{found.path} is kept.")
        return HttpResponseRedirect(reverse("host-detail", args=[host.pk]))


class EnrolHost(ServicePage):
    """Enrols a host by its address, which is parsed and validated, never passed through."""

    declared_action = Action.OPERATE_HOST
    section = "hosts"
    form_class = HostForm
    heading = "Enrol a host"
    submit_label = "Enrol"

    def prepare(self) -> None:
        if not Cluster.objects.visible_to(self.request.user, Action.OPERATE_HOST).exists():
            gate.authorise(self.request.user, Action.OPERATE_HOST)  # type: ignore[arg-type]

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.request.user}

    def back_url(self) -> str:
        return reverse("host-list")

    def perform(self, form: HostForm) -> str:
        host = host_create(actor=self.request.user, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(self.request, f"{host} is enrolled; it will be read in a moment.")
        return reverse("host-detail", args=[host.pk])
