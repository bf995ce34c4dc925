"""A form that becomes a job, whatever it works on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, cast

from django import forms
from django.http import HttpResponse
from django.urls import reverse

from jobs.approvals import Work, may_decide, needs_approval
from jobs.errors import IdempotencyMismatch
from jobs.operations.registry import operation_named
from jobs.services import job_submit
from portal.errors import Problem
from portal.pages.base import ServicePage
from portal.pages.forms.operations import OperationForm


class WorkPage(ServicePage):
    """Submits a job on `target`, which subclasses find in `prepare`, and then goes to the job's page."""

    operation: str
    target: Any
    #: What the operation would be asked with when the form is sent as it is first shown, as far as it matters here.
    usual: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @cached_property
    def extent(self) -> list[int]:
        """Ids of the VMs that work on something else than a VM would be about."""
        return []

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        work = Work(operation_named(self.operation), self.target, self.usual, self.extent)
        needs = needs_approval(user, work)
        return super().get_context_data(
            needs_approval=needs, may_break_glass=needs and may_decide(user, work), **kwargs
        )

    def subject(self) -> str:
        return str(self.target)

    def params(self, form: OperationForm) -> dict[str, Any]:
        """What goes to the operation."""
        return form.params()

    def chosen(self) -> str:
        """The operation, by the button that was pressed."""
        return self.operation

    def perform(self, form: OperationForm) -> str:
        job = job_submit(
            actor=self.request.user,  # type: ignore[arg-type]
            operation=self.chosen(),
            target=self.target,
            params=self.params(form),
            idempotency_key=f"page-{form.cleaned_data['key']}",
            break_glass_reason=self.request.POST.get("break_glass", "")[:500],
        )
        return reverse("job-detail", args=[job.pk])

    def refused(self, form: forms.Form, problem: Problem) -> HttpResponse:
        cast(OperationForm, form).renew()
        if problem.code == IdempotencyMismatch.code:
            sentence = "This form was sent before, with other values. Send it again if you mean it."
            problem = Problem(problem.status, problem.title, problem.code, sentence)
        return super().refused(form, problem)
