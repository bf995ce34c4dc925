"""Who may do what to a VM, and why: for oneself, and for others to who grants access there or audits."""

from __future__ import annotations

from typing import Any

from django.http import Http404

from access import gate
from access.actions import Action
from access.explain import explain_for, who_may
from access.models import User
from inventory.models import VM
from portal.api.filters import is_id
from portal.pages.base import Page, visible_or_404


class VMAccess(Page):
    """The people with their actions on the VM; each action leads to the chain of grants behind it."""

    declared_action = Action.VIEW
    section = "vms"
    template_name = "vms/access.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        vm: VM = visible_or_404(self.request, VM.objects.select_related("segment"), self.kwargs["pk"])
        sees_others = gate.can(user, Action.READ_AUDIT) or gate.can(user, Action.GRANT, vm)
        people = who_may(vm) if sees_others else [(user, gate.held_on(user, vm))]
        asked = self._asked(user, [person for person, _held in people])
        return super().get_context_data(
            vm=vm,
            sees_others=sees_others,
            people=[(person, _in_order(held)) for person, held in people],
            choices=[person for person, _held in people],
            actions=list(Action),
            asked=asked,
            answer=explain_for(user, *asked, vm) if asked else None,
            **kwargs,
        )

    def _asked(self, user: User, shown: list[User]) -> tuple[User, Action] | None:
        """The question in the address, if there is one. Raises NotVisible and Http404 for one about nobody that the
        user sees, here or elsewhere, and Http404 for one about no action.
        """
        who, what = self.request.GET.get("user", str(user.pk)), self.request.GET.get("action", "")
        if not what:
            return None
        if not is_id(who) or what not in Action.values:
            raise Http404
        person = next((person for person in shown if person.pk == int(who)), None)
        return person or visible_or_404(self.request, User.objects.all(), int(who)), Action(what)


def _in_order(held: set[Action]) -> list[Action]:
    return [action for action in Action if action in held]
