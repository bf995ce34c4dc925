"""Which buttons a VM's page has: those of rights that are held, each with the reason, if any, against it now.

The reasons are the operations' own (`admit`), so that a button and its submission cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from access.actions import Action
from access.errors import Refused
from access.gate import Actor
from hypervisor.types import PowerState
from inventory.models import VM
from jobs.errors import NotAdmitted
from jobs.models import Job
from jobs.operations.power import refuse_unsettled
from jobs.operations.registry import operation_named


@dataclass(frozen=True, slots=True)
class Button:
    """One thing to do. `why_not` is "" when it can be done now."""

    label: str
    icon: str
    url: str
    why_not: str = ""
    is_dangerous: bool = False


@dataclass(frozen=True, slots=True)
class Buttons:
    """What the page offers: the work, the power switch, and what is not possible now with its reasons."""

    work: list[Button]
    power: list[Button]
    console: Button | None

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """(what, why) for the work that is not possible now, one entry for each reason."""
        reasons: dict[str, list[str]] = {}
        for button in self.work:
            if button.why_not:
                reasons.setdefault(button.why_not, []).append(button.label)
        return [(", ".join(labels), why) for why, labels in reasons.items()]

    @property
    def power_is_possible(self) -> bool:
        return any(not button.why_not for button in self.power)


_WORK = (
    ("snapshot.create", "Snapshot", "snapshot", "vm-snapshot"),
    ("vm.patch", "Patch", "patch", "vm-patch"),
    ("vm.migrate", "Migrate", "migrate", "vm-migrate"),
)
_POWER = (
    ("vm.start", "Start", "power"),
    ("vm.shutdown", "Shut down", "power"),
    ("vm.reboot", "Reboot", "reboot"),
    ("vm.force_off", "Force off", "plug"),
)


def buttons(user: Actor, vm: VM, held: Iterable[Action], busy: Job | None) -> Buttons:
    """The buttons for one user on one VM."""
    rights = set(held)
    unsettled = settled_refusal(vm, busy)
    work = [
        Button(label, icon, reverse(url, args=[vm.pk]), unsettled or _why_not(user, vm, name))
        for name, label, icon, url in _WORK
        if operation_named(name).action in rights
    ]
    power = [
        Button(
            label,
            icon,
            reverse("vm-power", args=[vm.pk, name.removeprefix("vm.")]),
            unsettled or _why_not(user, vm, name),
            is_dangerous=name == "vm.force_off",
        )
        for name, label, icon in _POWER
        if Action.POWER in rights
    ]
    return Buttons(work, power, _console(vm) if Action.CONSOLE in rights else None)


def _console(vm: VM) -> Button:
    """Also while a job holds the VM: to look on is no work."""
    why_not = settled_refusal(vm, None)
    if not why_not and vm.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
        why_not = f"{vm} is not running, so that nothing is written to its console."
    return Button("Console", "console", reverse("vm-console", args=[vm.pk]), why_not)


def settled_refusal(vm: VM, busy: Job | None) -> str:
    """What speaks against any work on the VM at present, in a sentence; "" if nothing does."""
    if busy is not None:
        return f"A job holds {vm} at present ({busy.label})."
    try:
        refuse_unsettled(vm)
    except NotAdmitted as error:
        return str(error)
    return ""


def _why_not(user: Actor, vm: VM, name: str) -> str:
    operation = operation_named(name)
    try:
        operation.admit(user, vm, operation.clean({}))
    except (NotAdmitted, Refused) as error:
        return str(error)
    return ""
