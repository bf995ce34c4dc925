"""Enrolling a host."""

from __future__ import annotations

from typing import Any

from django import forms

from access.actions import Action
from inventory.models import Cluster
from portal.pages.forms.base import PortalForm


class HostForm(PortalForm):
    """A name, an address, and a cluster of which the user operates the hosts."""

    name = forms.CharField(max_length=100)
    uri = forms.CharField(
        label="Address",
        max_length=300,
        help_text="qemu+tls://host/system, qemu+ssh://user@host/system, or qemu:///system for this machine.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    cluster = forms.ModelChoiceField(queryset=Cluster.objects.none(), empty_label=None)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.narrow("cluster", Cluster.objects.visible_to(user, Action.OPERATE_HOST))
