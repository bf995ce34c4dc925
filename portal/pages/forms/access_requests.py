"""Asking for access."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from django import forms

from access.actions import Action
from access.models import Role
from access.services.requests import LONGEST_HOURS
from portal.pages.forms.base import PortalForm


class AskForm(PortalForm):
    """A role that gives more than is held, for how long, and why."""

    role = forms.ModelChoiceField(queryset=Role.objects.none(), empty_label=None)
    hours = forms.IntegerField(min_value=1, max_value=LONGEST_HOURS, initial=4, label="For how many hours")
    reason = forms.CharField(max_length=500, label="What for")

    def __init__(self, held: Set[Action], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        more = [role.pk for role in Role.objects.all() if _gives_more(role, held)]
        self.narrow("role", Role.objects.filter(pk__in=more))


def _gives_more(role: Role, held: Set[Action]) -> bool:
    """Whether it can be asked for: it gives something new, and not the right to give on."""
    return Action.GRANT not in role.actions and not set(role.actions) <= {action.value for action in held}
