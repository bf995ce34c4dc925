"""A VM's serial console in the browser."""

from __future__ import annotations

from typing import Any

from access.actions import Action
from inventory.models import VM
from portal.pages.base import Page, visible_or_404


class VMConsole(Page):
    """The terminal. Its script asks the API for a ticket and opens the console at the gateway."""

    declared_action = Action.CONSOLE
    section = "vms"
    template_name = "vms/console.html"

    def prepare(self) -> None:
        self.vm: VM = visible_or_404(
            self.request, VM.objects.select_related("host", "segment"), self.kwargs["pk"], Action.CONSOLE
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(vm=self.vm, **kwargs)
