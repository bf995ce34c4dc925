"""Forms that change access show what they would change before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.http import HttpResponse

from access.preview import Difference
from portal.pages.base import ServicePage

#: Lines shown for one person; a sentence tells how many there are beyond.
LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Change:
    """What one person gains or loses, object by object."""

    person: Any
    lines: list[Difference]
    more: int


class PreviewedPage(ServicePage):
    """A form with a second button, which shows the consequences and does nothing."""

    def preview(self, form: Any) -> list[Difference]:
        """What sending the form would change. Raises what the service raises."""
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**{"can_preview": True} | kwargs)

    def answer(self, form: Any) -> HttpResponse:
        if "preview" not in self.request.POST:
            return super().answer(form)
        return self.render_to_response(self.get_context_data(form=form, changes=by_person(self.preview(form))))


def by_person(found: list[Difference]) -> list[Change]:
    """Differences person by person, for the page."""
    ordered = sorted(found, key=lambda difference: difference.user.username)
    changes = []
    for person, lines in groupby(ordered, key=lambda difference: difference.user):
        every = list(lines)
        changes.append(Change(person, every[:LINES_SHOWN], max(0, len(every) - LINES_SHOWN)))
    return changes
