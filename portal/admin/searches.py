"""Saved searches: a question to the list of events, kept under a name, private or for all auditors to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed
from access.models import User
from audit.events import EventAction
from audit.record import record
from audit.values import line
from portal.admin.narrow import NarrowForm
from portal.models import NAME_LENGTH, SavedSearch

#: What a search may hold: the fields of the form, and the words of the box above the list.
FILTERS = (*NarrowForm.base_fields, "q")
#: What one person keeps at most.
MOST = 100


@transaction.atomic
def search_save(*, actor: User, name: str, query: Mapping[str, str], shared: bool) -> SavedSearch:
    """Keep a question. Needs READ_AUDIT on everything. Raises NotAllowed, InvalidAccessRequest."""
    gate.authorise(actor, Action.READ_AUDIT)
    name = line(name.strip(), NAME_LENGTH)
    asked = {field: query[field].strip() for field in FILTERS if query.get(field, "").strip()}
    if not name:
        raise InvalidAccessRequest("Give the search a name.", field="name")
    if not asked:
        raise InvalidAccessRequest("Narrow the list first: a search that asks for nothing is the list itself.")
    if not NarrowForm(asked).is_valid():
        raise InvalidAccessRequest("These filters make no sense; a search is saved once it finds something.")
    if SavedSearch.objects.filter(owner=actor).count() >= MOST:
        raise InvalidAccessRequest(f"You keep {MOST} searches already; delete one first.")
    try:
        with transaction.atomic():
            search = SavedSearch.objects.create(owner=actor, name=name, query=asked, is_shared=shared)
    except IntegrityError as error:
        raise InvalidAccessRequest(f"You have a search named “{name}” already.", field="name") from error
    record(EventAction.SEARCH_SAVED, target=search, actor=actor, after={"query": asked, "is_shared": shared})
    return search


@transaction.atomic
def search_delete(*, actor: User, search: SavedSearch) -> None:
    """Forget one's own search. Raises NotAllowed for somebody else's."""
    gate.authorise(actor, Action.READ_AUDIT)
    if search.owner_id != actor.pk:
        raise NotAllowed(user=actor, action=Action.EDIT, target=search)
    facts = {"query": search.query, "is_shared": search.is_shared}
    record(EventAction.SEARCH_DELETED, target=search, actor=actor, before=facts)
    search.delete()


def save_view(request: HttpRequest) -> HttpResponse:
    """Save what the list shows, and go on showing it."""
    query = {name: str(value) for name, value in QueryDict(request.POST.get("query", "")).items() if name in FILTERS}
    shared = request.POST.get("shared") == "on"
    try:
        saved = search_save(actor=_auditor(request), name=request.POST.get("name", ""), query=query, shared=shared)
    except InvalidAccessRequest as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The search “{saved.name}” is saved.")
    return redirect(f"{_list()}?{urlencode(query)}")


def forget_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete one's own. Raises Http404 for what one does not see, NotAllowed for somebody else's."""
    actor = _auditor(request)
    search = SavedSearch.objects.visible_to(actor).filter(pk=pk).first()
    if search is None:
        raise Http404
    search_delete(actor=actor, search=search)
    messages.success(request, f"The search “{search.name}” is deleted.")
    return redirect(_list())


def shown(request: HttpRequest) -> dict[str, Any]:
    """What the list's page shows of them."""
    actor = _auditor(request)
    asked = {name: value for name, value in request.GET.items() if name in FILTERS and value.strip()}
    searches = list(SavedSearch.objects.visible_to(actor).select_related("owner"))
    return {
        "searches": len(searches),
        "own_searches": [search for search in searches if search.owner_id == actor.pk],
        "shared_searches": [search for search in searches if search.owner_id != actor.pk],
        "asked": urlencode(asked),
        "search_name_length": NAME_LENGTH,
    }


def _auditor(request: HttpRequest) -> User:
    return request.user  # type: ignore[return-value]  # the site lets nobody else in


def _list() -> str:
    return reverse("admin:audit_auditevent_changelist")
