"""Into which segment a VM goes."""

from __future__ import annotations

from typing import Any

from django import forms

from access.actions import Action
from inventory.models import Segment
from portal.pages.forms.base import PortalForm


class SegmentChoiceForm(PortalForm):
    """Segments to which the user may assign VMs; and why."""

    segment = forms.ModelChoiceField(
        queryset=Segment.objects.none(), required=False, empty_label="None: only platform operators see it"
    )
    reason = forms.CharField(required=False, max_length=500)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.narrow("segment", Segment.objects.visible_to(user, Action.ASSIGN_SEGMENT))
