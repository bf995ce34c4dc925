"""The filters above a list of jobs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from jobs.models import Job
from jobs.operations.registry import OPERATIONS
from jobs.states import TERMINAL, State
from portal.pages.forms.base import PortalForm
from portal.pages.wording import operation_words

STATES = {
    "": "Any",
    "unfinished": "Not over",
    "ended_badly": "Failed or errored",
    **{state.value: state.label for state in State},
}
_GROUPS = {
    "unfinished": ~Q(state__in=TERMINAL),
    "ended_badly": Q(state__in=[State.FAILED, State.ERRORED]),
}


class JobFilter(PortalForm):
    """State, operation, whose; `vm` comes from a VM's page."""

    q = forms.CharField(
        label="Target", required=False, max_length=100, strip=True, widget=forms.TextInput(attrs={"type": "search"})
    )
    state = forms.ChoiceField(required=False, choices=list(STATES.items()))
    operation = forms.ChoiceField(required=False)
    vm = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["q"].widget.attrs["placeholder"] = "Name of a VM or host"
        self.offer("operation", [("", "Any"), *((name, operation_words(name)) for name in OPERATIONS)])

    @property
    def is_used(self) -> bool:
        """Whether anything is filtered."""
        return self.is_bound and any(self.data.get(name) for name in self.fields)

    def apply(self, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """Narrow the jobs; a value that is no choice finds nothing."""
        if not self.is_valid():
            return jobs.none()
        chosen = self.cleaned_data
        if chosen["q"]:
            jobs = jobs.filter(target_name__icontains=chosen["q"])
        if chosen["state"]:
            jobs = jobs.filter(_GROUPS.get(chosen["state"], Q(state=chosen["state"])))
        if chosen["operation"]:
            jobs = jobs.filter(operation=chosen["operation"])
        if chosen["vm"]:
            jobs = jobs.filter(vm=chosen["vm"])
        return jobs
