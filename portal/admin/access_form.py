"""What an auditor asks of the access matrix, and the objects and people that it is about."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django import forms
from django.db.models import QuerySet

from access.asof import Moment
from access.asof_lists import in_segments, reached
from access.errors import InvalidAccessRequest
from access.models import Team, User
from inventory.models import VM, Cluster, Host, Segment

KINDS = [("vm", "VMs"), ("segment", "Segments"), ("host", "Hosts"), ("cluster", "Clusters")]
MODELS: dict[str, Any] = {"vm": VM, "segment": Segment, "host": Host, "cluster": Cluster}


class AccessForm(forms.Form):
    """The filters of the matrix. Without a moment, it is about now."""

    at = forms.DateTimeField(
        label="At (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"placeholder": "now, or 2026-01-31 08:00"}, format="%Y-%m-%d %H:%M:%S.%f"),
    )
    kind = forms.ChoiceField(label="On", choices=KINDS, required=False)
    name = forms.CharField(label="Name (part)", max_length=255, required=False)
    segment = forms.ModelChoiceField(queryset=Segment.objects.none(), required=False, empty_label="Any segment")
    team = forms.ModelChoiceField(queryset=Team.objects.none(), required=False, empty_label="Any team")
    person = forms.CharField(label="Person (user name)", max_length=150, required=False)

    def __init__(self, data: Any, *, user: Any) -> None:
        super().__init__(data)
        self.auditor = user
        self.moment: Moment | None = None
        choices: Any = self.fields
        choices["segment"].queryset = Segment.objects.visible_to(user)
        choices["team"].queryset = Team.objects.visible_to(user)

    def clean_kind(self) -> str:
        """A key of `MODELS`."""
        return self.cleaned_data["kind"] or "vm"

    def clean_person(self) -> User | None:
        """The account of that name."""
        name = self.cleaned_data["person"].strip()
        if not name:
            return None
        found: User | None = User.objects.visible_to(self.auditor).filter(username=name).first()
        if found is None:
            raise forms.ValidationError("There is no account of that user name.")
        return found

    def clean_at(self) -> datetime | None:
        """A moment of which something can be known."""
        at: datetime | None = self.cleaned_data["at"]
        try:
            self.moment = Moment(at)
        except InvalidAccessRequest as error:
            raise forms.ValidationError(str(error)) from error
        return at

    def clean(self) -> dict[str, Any]:
        """A segment has VMs; no host or cluster is in one."""
        asked: dict[str, Any] = super().clean() or {}
        if asked.get("segment") and asked.get("kind") in ("host", "cluster"):
            self.add_error("segment", "Hosts and clusters are in no segment.")
        return asked

    def objects(self, moment: Moment) -> QuerySet[Any]:
        """What is looked at, by name: as far as the auditor sees it today, and it was there then."""
        asked, users = self.cleaned_data, self.users(moment)
        rows: QuerySet[Any] = MODELS[asked["kind"]]._default_manager.visible_to(self.auditor)
        if asked["kind"] == "vm":
            rows = rows.filter(created_at__lte=moment.at)
        elif asked["kind"] == "host":
            rows = rows.select_related("cluster")
        if asked["segment"]:
            one = [asked["segment"].pk]
            rows = in_segments(moment, rows, one) if asked["kind"] == "vm" else rows.filter(pk__in=one)
        if asked["name"]:
            rows = rows.filter(name__icontains=asked["name"])
        if users is not None:
            rows = reached(moment, rows, users)
        return rows.order_by("name", "pk")

    def users(self, moment: Moment) -> Collection[int] | None:
        """The people that it is narrowed to: somebody, a team's members as they were then, or both; None: anybody."""
        person, team = self.cleaned_data["person"], self.cleaned_data["team"]
        if team is None:
            return None if person is None else {person.pk}
        members = moment.members(team.pk)
        return members if person is None else members & {person.pk}
