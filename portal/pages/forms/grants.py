"""Giving and taking access."""

from __future__ import annotations

from typing import Any

from django import forms

from access import gate
from access.models import Role, Team, User
from portal.pages.forms.base import PortalForm


class GrantForm(PortalForm):
    """To a team or a person that the user sees; of a role that the user holds in full on the segment."""

    team = forms.ModelChoiceField(queryset=Team.objects.none(), required=False, empty_label="No team")
    person = forms.ModelChoiceField(queryset=User.objects.none(), required=False, empty_label="Nobody")
    role = forms.ModelChoiceField(queryset=Role.objects.none(), empty_label=None)
    reason = forms.CharField(max_length=500)
    expires_at = forms.DateTimeField(
        label="Until",
        required=False,
        help_text="In UTC. Without an end if left empty.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, user: Any, segment: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        held = {action.value for action in gate.actions_on(user, [segment])[segment.pk]}
        givable = [role.pk for role in Role.objects.all() if set(role.actions) <= held]
        self.narrow("team", Team.objects.visible_to(user))
        self.narrow("person", User.objects.visible_to(user).filter(is_active=True))
        self.narrow("role", Role.objects.filter(pk__in=givable))

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors and bool(self.cleaned_data.get("team")) == bool(self.cleaned_data.get("person")):
            raise forms.ValidationError("Choose a team or a person, one of them.")
        return cleaned


class RevokeForm(PortalForm):
    """Why access is taken away."""

    reason = forms.CharField(required=False, max_length=500)
