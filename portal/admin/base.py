"""What makes the site read-only: no address changes what it shows, and every permission to do so is refused. (An
auditor's saved searches are the auditor's own.)
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, re_path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from access import gate
from access.actions import Action

#: A list counts and shows at most so many rows; narrow it to see others.
LONGEST_LIST = 100_000


class Pages(Protocol):
    """Addresses that the site has beside those of its nouns."""

    def get_urls(self) -> list[URLPattern]:
        """Each one guarded by `AuditorsSite.admin_view`."""


class AuditorsSite(admin.AdminSite):
    """Open to who may read the audit record, and to nobody else. People sign in at the portal's own page."""

    site_title = "Slipway audit"
    site_header = "Slipway audit"
    index_title = "The record, and what it is about"
    index_template = "auditors/index.html"
    empty_value_display = "–"  # noqa: RUF001 (a dash is what a reader expects there)
    #: Pages beside those of the nouns.
    pages: Sequence[Pages] = ()

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the user may read the record; asked of the gate once per request."""
        if not hasattr(request, "_may_read_audit"):
            request._may_read_audit = gate.can(request.user, Action.READ_AUDIT)  # type: ignore[attr-defined,arg-type]
        return request._may_read_audit  # type: ignore[attr-defined]

    def admin_view(
        self, view: Callable[..., Any], cacheable: bool = False, also: Action | None = None
    ) -> Callable[..., Any]:
        """Guard a view: refused (on the record) to who does not hold READ_AUDIT, and `also` where it is given.

        The view declares `also`, else READ_AUDIT.
        """

        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_permission(request):
                gate.authorise(request.user, Action.READ_AUDIT)  # type: ignore[arg-type]
            if also is not None:
                gate.authorise(request.user, also)  # type: ignore[arg-type]
            return view(request, *args, **kwargs)

        wrapped = csrf_protect(never_cache(guarded))
        wrapped.declared_action = also or Action.READ_AUDIT  # type: ignore[attr-defined]
        return wrapped

    def get_urls(self) -> list[Any]:
        """The index, and what the registered nouns have. No sign-in, no passwords: those are the portal's."""
        urls: list[Any] = [
            path("", self.admin_view(self.index), name="index"),
            path("jsi18n/", self.admin_view(self.i18n_javascript), name="jsi18n"),
        ]
        for model, noun in self._registry.items():
            prefix = f"{model._meta.app_label}/{model._meta.model_name}/"
            urls += [path(prefix + str(url.pattern), url.callback, name=url.name) for url in noun.get_urls()]
        urls += [url for pages in self.pages for url in pages.get_urls()]
        labels = "|".join(sorted({model._meta.app_label for model in self._registry}))
        return [*urls, re_path(rf"^(?P<app_label>{labels})/$", self.admin_view(self.app_index), name="app_list")]


class Unchangeable:
    """Nobody adds, changes or deletes, whoever asks."""

    admin_site: AuditorsSite

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.admin_site.has_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class CappedPaginator(Paginator):
    """Counts no further than LONGEST_LIST, so that a long table opens as fast as a short one."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by()[:LONGEST_LIST].count()


class ReadOnlyAdmin(Unchangeable, admin.ModelAdmin):
    """A noun to look at: its list, its objects, and where the record tells of one."""

    actions = None
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What this auditor sees, where the noun is one that grants reach."""
        rows: Any = super().get_queryset(request)
        return rows.visible_to(request.user) if hasattr(rows, "visible_to") else rows

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        guard = self.admin_site.admin_view
        return [
            path("", guard(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/history/", guard(self.history_view), name=f"{name}_history"),
            path("<path:object_id>/change/", guard(self.change_view), name=f"{name}_change"),
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """What the record tells of the object. (Django's own log of the admin's changes would always be empty.)"""
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        events = reverse("admin:audit_auditevent_changelist", current_app=self.admin_site.name)
        return redirect(f"{events}?{urlencode(self.record_query(found))}")

    def record_query(self, found: Any) -> dict[str, str]:
        """Which events tell of an object: fields of the event and their values."""
        target = found.audit_target()
        return {"object_type": target.type, "object_id": target.id}


class ReadOnlyInline(Unchangeable, admin.TabularInline):
    """Parts of an object, on its page."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """All: a form would refuse those that nobody edits."""
        return self.fields


class Acknowledged(admin.SimpleListFilter):
    """Whether somebody has taken note of it."""

    title = "acknowledged"
    parameter_name = "acknowledged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Waits for somebody"), ("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(acknowledged_at__isnull=self.value() == "no") if self.value() else queryset


def as_text(value: Any) -> str:
    """A JSON document, laid out for reading."""
    if value in (None, {}, []):
        return AuditorsSite.empty_value_display
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
