"""Segments: their VMs, their networks, and who may do what in them."""

from __future__ import annotations

from typing import Any

from access import gate
from access.actions import Action
from access.models import Grant
from inventory.models import VM, Alarm, Segment
from portal.declared import SIGNED_IN
from portal.pages.attention import segment_rows
from portal.pages.base import Page, visible_or_404
from portal.pages.vms import for_list
from portal.pages.wording import operation_words

#: VMs listed on a segment's page; the rest is a click away in the list of VMs.
VMS_SHOWN = 100


class SegmentList(Page):
    """The segments that the user sees."""

    declared_action = SIGNED_IN
    section = "segments"
    template_name = "segments/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(rows=segment_rows(self.request.user), **kwargs)


class SegmentDetail(Page):
    """One segment; its grants for who may give some."""

    declared_action = Action.VIEW
    section = "segments"
    template_name = "segments/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"])
        held = gate.actions_on(user, [segment])[segment.pk]
        vms = VM.objects.visible_to(user).filter(segment=segment)
        may_see_grants = bool(held & {Action.GRANT, Action.READ_AUDIT})
        grants = Grant.objects.visible_to(user).filter(segment=segment).select_related("team", "user", "role", "author")
        return super().get_context_data(
            segment=segment,
            networks=segment.networks.order_by("name"),
            row=segment_rows(user, only=Segment.objects.filter(pk=segment.pk))[0],
            vms=for_list(vms).order_by("name", "pk")[:VMS_SHOWN],
            may_grant=Action.GRANT in held,
            needs_approval=[operation_words(rule.operation) for rule in segment.approval_rules.all()],
            alarms=[label for name, label in Alarm.choices if name not in segment.silent],
            may_edit=Action.EDIT in held,
            may_rule=gate.can(user, Action.GRANT),
            grants=grants if may_see_grants else None,
            **kwargs,
        )
