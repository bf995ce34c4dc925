"""The access matrix: who might do what on which VM, segment, host or cluster, now or in the past, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from access import gate
from access.actions import Action
from access.asof import AnswerThen, Moment, View
from access.models import User
from audit.canonical import instant
from audit.events import EventAction
from audit.export import Tally, told
from audit.record import record_alone
from audit.selectors import told_of
from inventory.models import Segment
from portal.admin.access_form import KINDS, MODELS, AccessForm
from portal.admin.exports import Download, csv_rows, safe

if TYPE_CHECKING:
    from portal.admin.base import AuditorsSite

#: Objects on a page, and people shown for each: whoever wants to see all narrows, or exports.
PER_PAGE = 10
MOST_PEOPLE = 100
#: Objects that an export reads at a time.
BATCH = 200
_ABOUT = ("at", "known", "object_type", "object_id", "object_uuid", "object_name", "segment_id", "user_id", "user",
          "full_name")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One person on one object; `held` in the order of the actions."""

    user: User
    held: set[Action]

    @property
    def cells(self) -> list[tuple[Action, bool]]:
        """Each action, and whether it was held."""
        return [(action, action in self.held) for action in Action]


@dataclass(frozen=True, slots=True)
class Block:
    """One object with everybody who might do something to it."""

    target: Any
    segment: Segment | None
    lines: list[Line]

    @property
    def shown(self) -> list[Line]:
        """As many as a page bears."""
        return self.lines[:MOST_PEOPLE]

    @property
    def more(self) -> int:
        """How many are not shown."""
        return max(0, len(self.lines) - MOST_PEOPLE)


class WhyForm(AccessForm):
    """Which cell somebody asks about."""

    kind = forms.ChoiceField(choices=KINDS)
    target = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    user = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    action = forms.ChoiceField(choices=Action.choices)


class AccessMatrix:
    """The pages of the matrix on the auditors' site."""

    def __init__(self, site: AuditorsSite) -> None:
        self.site = site

    def get_urls(self) -> list[URLPattern]:
        """The matrix, the reasons of one cell, and the matrix as a file."""
        guard = self.site.admin_view
        return [
            path("access/matrix/", guard(require_safe(self.matrix)), name="access_matrix"),
            path("access/matrix/why/", guard(require_safe(self.why)), name="access_why"),
            path("access/matrix/csv/", guard(require_safe(self.export), also=Action.EXPORT), name="access_export"),
        ]

    def matrix(self, request: HttpRequest) -> HttpResponse:
        """A page of it. That it was read, and with which question, is recorded before it is shown."""
        form = AccessForm(_asked(request), user=request.user)
        context: dict[str, Any] = {"title": "Who may do what", "form": form, "actions": list(Action)}
        if form.is_valid() and form.moment is not None:
            moment = form.moment
            page = Paginator(form.objects(moment), PER_PAGE).get_page(request.GET.get("p"))
            view = moment.of(page.object_list)
            context |= {
                "page": page,
                "view": view,
                "blocks": list(blocks(view, page.object_list, form.users(moment))),
                "is_past": form.cleaned_data["at"] is not None,
                "at": instant(moment.at),
                "kind": form.cleaned_data["kind"],
                "noun": MODELS[form.cleaned_data["kind"]]._meta.verbose_name,
                "query": urlencode({name: value for name, value in request.GET.items() if value and name != "p"}),
                "may_export": gate.can(request.user, Action.EXPORT),  # type: ignore[arg-type]
            }
            _read(request, "access matrix", moment)
        return self._page(request, "auditors/access_matrix.html", context)

    def why(self, request: HttpRequest) -> HttpResponse:
        """The grants behind one cell. Raises BadRequest, Http404."""
        form = WhyForm(request.GET, user=request.user)
        if not form.is_valid() or form.moment is None:
            raise BadRequest
        asked, moment = form.cleaned_data, form.moment
        target = MODELS[asked["kind"]]._default_manager.visible_to(request.user).filter(pk=asked["target"]).first()
        user = User.objects.visible_to(request.user).filter(pk=asked["user"]).first()
        if target is None or user is None:
            raise Http404
        view = moment.of([target])
        answer: AnswerThen = view.why(user, Action(asked["action"]), target)
        back = {"kind": asked["kind"], "name": target.name, "person": user.username}
        context = {
            "title": "Why, or why not",
            "answer": answer,
            "view": view,
            "is_past": asked["at"] is not None,
            "at": instant(moment.at),
            "recorded": told_of(EventAction.GRANT_CREATED, "grant", [link.grant.id for link in answer.links]),
            "held": [action for action in Action if action in view.held(user.pk, target)],
            "back": urlencode(back | ({"at": instant(moment.at)} if asked["at"] else {})),
        }
        _read(request, "access matrix, why", moment)
        return self._page(request, "auditors/access_why.html", context)

    def export(self, request: HttpRequest) -> Download:
        """The whole of what is asked for, as a table, recorded. Raises BadRequest for what makes no sense."""
        form = AccessForm(_asked(request), user=request.user)
        if not form.is_valid() or form.moment is None:
            raise BadRequest
        moment = form.moment
        query = {name: value for name, value in request.GET.items() if value}
        facts = {"report": "access matrix", "format": "csv", "at": instant(moment.at), "query": query}
        tally = Tally()
        targets = list(form.objects(moment))
        chunks = _csv(moment, targets, form.users(moment), tally)
        answer = Download(told(chunks, tally, facts), content_type="text/csv; charset=utf-8")
        name = f"slipway-access-{moment.at:%Y%m%dT%H%M%SZ}.csv"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.site.name  # type: ignore[attr-defined]
        return TemplateResponse(request, template, {**self.site.each_context(request), **context})


def blocks(view: View, targets: Sequence[Any], users: Collection[int] | None) -> Iterator[Block]:
    """Each object that was there, by name, with who held something on it, or with these users where they are given."""
    people = {target: view.people(target) for target in targets if view.place(target).keys is not None}
    wanted = set().union(*people.values()) if users is None else set(users)
    accounts = list(User.objects.filter(pk__in=wanted).order_by("username"))
    places = {target: view.place(target).segment for target in people}
    segments = Segment.objects.in_bulk([number for number in places.values() if number is not None])
    for target, named in people.items():
        lines = [Line(user, view.held(user.pk, target)) for user in accounts if user.pk in named]
        segment = segments.get(places[target]) if places[target] is not None else None  # type: ignore[arg-type]
        # Whoever is asked about is shown with nothing too, where a grant spoke: that cell leads to the reason.
        yield Block(target, segment, [line for line in lines if line.held or users is not None])


def _asked(request: HttpRequest) -> dict[str, str]:
    return {name: value for name, value in request.GET.items() if name in AccessForm.base_fields}


def _read(request: HttpRequest, page: str, moment: Moment) -> None:
    query = {name: value for name, value in request.GET.items() if value}
    record_alone(EventAction.AUDIT_READ, detail={"page": page, "at": instant(moment.at), "query": query})


def _csv(moment: Moment, targets: list[Any], users: Collection[int] | None, tally: Tally) -> Iterator[bytes]:
    yield csv_rows([[*_ABOUT, *(action.value for action in Action)]])
    for start in range(0, len(targets), BATCH):
        batch = targets[start : start + BATCH]
        view = moment.of(batch)
        rows = [_row(moment, view, block, line) for block in blocks(view, batch, users) for line in block.lines]
        tally.events += len(rows)
        yield csv_rows(rows)


def _row(moment: Moment, view: View, block: Block, line: Line) -> list[str]:
    target, user = block.target, line.user
    known = "yes" if view.known_since is None else f"only since {instant(view.known_since)}"
    about = (
        instant(moment.at), known, target._meta.model_name, target.pk, getattr(target, "uuid", ""), target.name,
        view.place(target).segment, user.pk, user.username, user.get_full_name(),
    )  # fmt: skip
    return [safe(cell) for cell in (*about, *("yes" if held else "" for _action, held in line.cells))]
