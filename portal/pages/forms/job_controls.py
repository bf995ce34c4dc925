"""Forms about a job that runs."""

from __future__ import annotations

from django import forms

from jobs.controls import LARGEST_BANDWIDTH_MIB
from portal.pages.forms.base import PortalForm


class BandwidthForm(PortalForm):
    """A new cap."""

    value = forms.IntegerField(
        label="Bandwidth cap, in MiB/s", min_value=0, max_value=LARGEST_BANDWIDTH_MIB, help_text="0 for none."
    )
