"""Deciding on what waits, and saying what has to wait."""

from __future__ import annotations

from django import forms

from jobs.operations.registry import OPERATIONS
from portal.pages.forms.base import PortalForm
from portal.pages.wording import operation_words


class NoteForm(PortalForm):
    """A word about it, if wanted."""

    note = forms.CharField(required=False, max_length=500)


class ReasonForm(PortalForm):
    """Why."""

    reason = forms.CharField(max_length=500)


class RulesForm(PortalForm):
    """The operations that need a second person."""

    operations = forms.MultipleChoiceField(
        choices=[(name, operation_words(name)) for name in sorted(OPERATIONS)],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Needs somebody else's approval",
    )
