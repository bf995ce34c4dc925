"""Forms about a cluster and its hosts: balancing, placement rules, what a host keeps."""

from __future__ import annotations

from typing import Any

from django import forms

from inventory.models import VM, Cluster, Host, PlacementRule, Segment
from portal.pages.forms.base import PortalForm
from portal.pages.forms.operations import MovesForm

Kind = PlacementRule.Kind
#: Rows that a list of choices shows at once.
ROWS = 6


class RebalanceForm(MovesForm):
    """`cluster.rebalance`, carried out."""

    most_moves = forms.IntegerField(
        label="Moves at most", required=False, min_value=1, max_value=200, help_text="20 if left empty."
    )
    advanced = ("policy", "most_moves", "bandwidth_mib")

    def params(self) -> dict[str, Any]:
        return super().params() | {"mode": "run"}


class BalancingForm(PortalForm):
    """What Slipway does by itself."""

    balancing = forms.ChoiceField(
        label="When the hosts are used unevenly, or a rule is broken",
        choices=Cluster.Balancing.choices,
        help_text="Automatic moves two VMs at a time, and none whose segment wants an approval for it.",
    )


class ReserveForm(PortalForm):
    """What a host keeps."""

    reserved_mib = forms.IntegerField(
        label="MiB kept free of VMs", min_value=0, max_value=2**31 - 1, help_text="VMs get what is free beyond it."
    )


class PlacementRuleForm(PortalForm):
    """A rule. Which of the fields it takes goes by its kind; the user chooses among what they see."""

    name = forms.CharField(max_length=100, help_text="Told to everybody whose VM the rule keeps from a host.")
    kind = forms.ChoiceField(choices=Kind.choices)
    vms = forms.ModelMultipleChoiceField(
        label="VMs", queryset=VM.objects.none(), required=False, widget=forms.SelectMultiple(attrs={"size": ROWS})
    )
    segment = forms.ModelChoiceField(queryset=Segment.objects.none(), required=False, empty_label="None")
    hosts = forms.ModelMultipleChoiceField(
        queryset=Host.objects.none(), required=False, widget=forms.SelectMultiple(attrs={"size": ROWS})
    )
    other_segment = forms.ModelChoiceField(queryset=Segment.objects.none(), required=False, empty_label="None")

    def __init__(self, user: Any, cluster: Cluster, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        vms: Any = VM.objects.visible_to(user)
        hosts: Any = Host.objects.visible_to(user)
        segments: Any = Segment.objects.visible_to(user)
        self.narrow("vms", vms.filter(host__cluster=cluster, missing_since=None).select_related("host"))
        self.narrow("hosts", hosts.filter(cluster=cluster))
        self.narrow("segment", segments)
        self.narrow("other_segment", segments)

    def parts(self) -> dict[str, Any]:
        """What goes to the service."""
        given = self.cleaned_data
        return given | {"vms": list(given["vms"]), "hosts": list(given["hosts"])}
