"""What all pages have in common: scoped objects, fragments for htmx, refusals shown at the form."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control
from django.views.generic import FormView, ListView, TemplateView, View
from django_htmx.http import HttpResponseClientRedirect

from access import gate
from access.actions import Action
from access.errors import NotVisible
from portal.declared import Declaration
from portal.errors import Problem, problem_of, record_refusal

#: Rows on a page of a list.
PAGE_SIZE = 50


class PageMixin:
    """A page: declares its action, belongs to a section of the menu, and is kept in no cache."""

    declared_action: ClassVar[Declaration]
    section: ClassVar[str] = ""
    http_method_names = [method for method in View.http_method_names if method != "options"]
    request: HttpRequest
    kwargs: dict[str, Any]

    def prepare(self) -> None:
        """Load what the page is about, before it is answered. Raises NotVisible, NotAllowed, Http404."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer, and let nobody keep a copy: what is shown is the estate's, and ages."""
        self.prepare()
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        patch_cache_control(response, no_store=True, private=True)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(section=self.section, **kwargs)  # type: ignore[misc, no-any-return]


class Page(PageMixin, TemplateView):
    """A page without a list or form of its own."""


class ListPage(PageMixin, ListView):
    """A paged list. htmx gets `fragment_name` alone, where a filter or a page was chosen."""

    paginate_by = PAGE_SIZE
    fragment_name: ClassVar[str]

    def get_template_names(self) -> list[str]:
        return [self.fragment_name if is_fragment(self.request) else str(self.template_name)]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(is_fragment=is_fragment(self.request), **kwargs)

    def paginate_queryset(self, queryset: Any, page_size: int) -> Any:
        """A page that is not there is answered with the nearest one: lists shrink while somebody reads them."""
        paginator = self.get_paginator(queryset, page_size)
        page = paginator.get_page(self.request.GET.get(self.page_kwarg, 1))
        return paginator, page, page.object_list, page.has_other_pages()


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return bool(request.htmx) and not request.htmx.history_restore_request  # type: ignore[attr-defined]


def visible_or_404(
    request: HttpRequest, queryset: models.QuerySet[Any], pk: Any, action: Action = Action.VIEW, **beneath: Any
) -> Any:
    """The object of a scoped model that the user sees, and on which they hold `action`; `beneath` says of what it is
    to be a part.

    Raises NotVisible for one that is there but not for this user, so that the attempt is recorded, and Http404 for one
    that is not, or is seen elsewhere; all are answered alike. Raises NotAllowed for one that is seen but on which the
    action is not held.
    """
    found = queryset.visible_to(request.user).filter(pk=pk, **beneath).first()  # type: ignore[attr-defined]
    if found is None:
        named: Any = queryset.model._default_manager.filter(pk=pk)
        hidden = named.first()
        if hidden is not None and not named.visible_to(request.user).exists():
            raise NotVisible(user=request.user, action=action, target=hidden)
        raise Http404
    if action is not Action.VIEW:
        gate.authorise(request.user, action, found)  # type: ignore[arg-type]
    return found


class ServicePage(PageMixin, FormView):
    """A form whose input goes to a service. What the service refuses is shown at the form, with the status it has.

    As a page of its own, or in a dialog when htmx asks; subclasses say in `perform` which service, and where to go.
    """

    template_name = "form/page.html"
    fragment_name: ClassVar[str] = "form/dialog.html"
    heading: ClassVar[str] = ""
    submit_label: ClassVar[str] = "Save"
    is_dangerous: ClassVar[bool] = False
    body_template: ClassVar[str] = "form/fields.html"

    def perform(self, form: Any) -> str:
        """Call the service; the address to go to. Raises what the service raises."""
        raise NotImplementedError

    def back_url(self) -> str:
        """Where “Cancel” leads."""
        raise NotImplementedError

    def subject(self) -> str:
        """What it is about, in a few words under the heading."""
        return ""

    def get_template_names(self) -> list[str]:
        return [self.fragment_name if is_fragment(self.request) else self.template_name]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            **{
                "heading": self.heading,
                "subject": self.subject(),
                "submit_label": self.submit_label,
                "is_dangerous": self.is_dangerous,
                "body_template": self.body_template,
                "back_url": self.back_url(),
            }
            | kwargs
        )

    def answer(self, form: Any) -> HttpResponse:
        """Do what was asked, and answer. Raises what the service raises."""
        url = self.perform(form)
        return HttpResponseClientRedirect(url) if is_fragment(self.request) else HttpResponseRedirect(url)

    def form_valid(self, form: forms.Form) -> HttpResponse:
        try:
            return self.answer(form)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            record_refusal(error)
            return self.refused(form, problem)

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        response = super().form_invalid(form)
        response.status_code = 400
        return response

    def refused(self, form: forms.Form, problem: Problem) -> HttpResponse:
        """The form again, with the sentence at the field it is about."""
        name = problem.field.removeprefix("params.")
        form.add_error(name if name in form.fields else None, problem.detail)
        response = self.render_to_response(self.get_context_data(form=form))
        response.status_code = problem.status
        return response
