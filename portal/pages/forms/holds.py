"""Placing a legal hold."""

from __future__ import annotations

from typing import Any

from django import forms

from audit.holds import Cover
from audit.models import NAME_LENGTH
from portal.pages.forms.base import PortalForm


def _name(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(label=label, help_text=help_text, required=False, max_length=NAME_LENGTH)


class HoldForm(PortalForm):
    """What is held: the events that meet all that is given. Everything only where that is said."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="As the case is called.")
    reason = forms.CharField(max_length=500)
    since = forms.DateTimeField(label="From (UTC)", required=False)
    until = forms.DateTimeField(label="Before (UTC)", required=False)
    person = _name("Person", "Whole name or id: what they did, what was done for them and to their account.")
    object = _name("Object", "Whole name, UUID or id of a VM, a host, a grant …")
    segment = _name("Segment", "Whole name or id.")
    everything = forms.BooleanField(label="The whole record", required=False)

    def clean(self) -> dict[str, Any]:
        """Either something is given, or everything is meant."""
        given: dict[str, Any] = super().clean() or {}
        narrowed = any(given.get(name) for name in ("since", "until", "person", "object", "segment"))
        if narrowed == bool(given.get("everything")):
            raise forms.ValidationError("Say what is held: the whole record, or at least one of the others.")
        return given

    def cover(self) -> Cover:
        """What it covers."""
        given = self.cleaned_data
        return Cover(given["since"], given["until"], given["person"], given["object"], given["segment"])
