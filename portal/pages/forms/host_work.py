"""Forms that become jobs on a host."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.operations.hosts.pace import MOST_AT_ONCE
from portal.pages.forms.operations import MovesForm

UNMOVABLE = [
    ("refuse", "Then do not begin", "Nothing moves unless everything can."),
    ("leave", "Let it stay", "What can move does; the host goes into maintenance with the rest still running on it."),
    ("shut_down", "Shut it down", "The guest is asked to shut down. It is started again when the maintenance ends."),
]


class PacedForm(MovesForm):
    """How many VMs are moved at a time."""

    at_once = forms.IntegerField(
        label="VMs at once", required=False, min_value=1, max_value=MOST_AT_ONCE, help_text="2 if left empty."
    )
    advanced = ("policy", "at_once", "bandwidth_mib")


class DrainForm(PacedForm):
    """`host.drain`."""

    unmovable = forms.ChoiceField(
        choices=[(value, label) for value, label, _ in UNMOVABLE], initial="refuse", widget=forms.RadioSelect
    )


class ActivateForm(PacedForm):
    """`host.activate`."""

    return_home = forms.BooleanField(label="Bring its VMs home", required=False, initial=True)

    def params(self) -> dict[str, Any]:
        return super().params() | {"return_home": self.cleaned_data["return_home"]}
