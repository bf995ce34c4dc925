"""Power: on, off, reboot, and the plug."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from access.actions import Action
from access.gate import Actor
from hypervisor.types import EventKind, GuestEvent, PowerState
from inventory.models import VM
from inventory.syncing import guest_read
from jobs.errors import NotAdmitted, OperationFailed
from jobs.operations.base import Operation
from jobs.operations.params import integer, only
from jobs.operations.waiting import wait_for

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


class PowerOperation(Operation):
    """What the four have in common: the state they need, and the state they must end in."""

    action = Action.POWER
    needs: ClassVar[frozenset[PowerState]]
    ends: ClassVar[PowerState]
    refusal: ClassVar[str]

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        if target.power_state not in {state.value for state in self.needs}:
            raise NotAdmitted("wrong_power_state", f"{target} {self.refusal}.")

    def precheck(self, context: JobContext) -> None:
        with context.step("state", "Ask the host for the VM's state") as step:
            state = context.on(context.home()).guest_state(context.uuid).state
            step.detail = state.value
            if state not in self.needs:
                raise OperationFailed("wrong_power_state", f"{context.vm} {self.refusal}.")

    def verify(self, context: JobContext) -> None:
        host = context.home()
        with context.step("verify", f"See that the VM is {self.ends.value.replace('_', ' ')}") as step:
            state = context.on(host).guest_state(context.uuid).state
            step.detail = state.value
            guest_read(host, context.on(host), context.uuid)
            if state is not self.ends:
                raise OperationFailed("wrong_end_state", f"{context.vm} is {state.value} now.")


class Start(PowerOperation):
    """Power on."""

    name = "vm.start"
    label = "Start"
    needs = frozenset({PowerState.SHUT_OFF, PowerState.CRASHED})
    ends = PowerState.RUNNING
    refusal = "is not switched off"

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        super().admit(actor, target, params)
        if target.host is not None and target.host.in_maintenance:
            raise NotAdmitted("host_in_maintenance", f"{target.host} is in maintenance; no VM is started on it.")

    def precheck(self, context: JobContext) -> None:
        super().precheck(context)
        host = context.home()
        if host.in_maintenance:
            raise OperationFailed("host_in_maintenance", f"{host} is in maintenance by now; no VM is started on it.")

    def execute(self, context: JobContext) -> None:
        host = context.home()
        with context.step("start", "Power on"):
            if context.on(host).guest_state(context.uuid).state is not PowerState.RUNNING:
                context.effect("start", lambda: context.on(host).start(context.uuid), host=host)


class ForceOff(PowerOperation):
    """Pull the plug."""

    name = "vm.force_off"
    label = "Force off"
    needs = frozenset({PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED, PowerState.CRASHED})
    ends = PowerState.SHUT_OFF
    refusal = "is not switched on"

    def execute(self, context: JobContext) -> None:
        host = context.home()
        with context.step("force_off", "Pull the plug"):
            if context.on(host).guest_state(context.uuid).state is not PowerState.SHUT_OFF:
                context.effect("force_off", lambda: context.on(host).force_off(context.uuid), host=host)


class Shutdown(PowerOperation):
    """Ask the guest to shut down, and wait for it."""

    name = "vm.shutdown"
    label = "Shut down"
    needs = frozenset({PowerState.RUNNING})
    ends = PowerState.SHUT_OFF
    refusal = "is not running"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "timeout_seconds")
        return {"timeout_seconds": integer(params, "timeout_seconds", default=120, low=5, high=3600)}

    def execute(self, context: JobContext) -> None:
        host, uuid = context.home(), context.uuid
        seconds = context.params["timeout_seconds"]

        def is_off() -> bool | None:
            return context.on(host).guest_state(uuid).state is PowerState.SHUT_OFF or None

        with context.step("shutdown", "Ask the guest to shut down", shown_at_once=False):
            if not is_off():  # asking a guest twice, after a crash, does no harm; not asking it at all would
                context.effect("shutdown", lambda: context.on(host).shutdown(uuid), host=host)
        with context.step("wait", "Wait until it is off", shown_at_once=False):
            context.progress("shutting down", 50)
            if wait_for(context, is_off, seconds=seconds) is None:
                raise OperationFailed(
                    "guest_ignored_shutdown",
                    f"{context.vm} did not shut down within {seconds} s. It still runs; shut it down inside, or "
                    "force it off.",
                )


class Reboot(PowerOperation):
    """Ask the guest to reboot, and wait until its host announces that it did."""

    name = "vm.reboot"
    label = "Reboot"
    needs = frozenset({PowerState.RUNNING})
    ends = PowerState.RUNNING
    refusal = "is not running"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "timeout_seconds")
        return {"timeout_seconds": integer(params, "timeout_seconds", default=180, low=5, high=3600)}

    def execute(self, context: JobContext) -> None:
        if context.job.journal.get("asked"):
            raise OperationFailed(
                "outcome_unknown",
                f"The worker was lost while {context.vm} rebooted; the VM was asked once and not again. See its "
                "uptime.",
            )
        host, uuid = context.home(), context.uuid
        rebooted = threading.Event()

        def on_event(event: GuestEvent) -> None:
            if event.uuid == uuid and event.kind is EventKind.REBOOTED:
                rebooted.set()

        subscription = context.on(host).watch(on_event, lambda reason: None)
        try:
            with context.step("reboot", "Ask the guest to reboot", shown_at_once=False):
                context.effect("reboot", lambda: context.on(host).reboot(uuid), host=host, journal={"asked": True})
            with context.step("wait", "Wait until the guest has reset", shown_at_once=False):
                context.progress("rebooting", 50)
                seconds = context.params["timeout_seconds"]
                if wait_for(context, lambda: rebooted.is_set() or None, seconds=seconds) is None:
                    raise OperationFailed(
                        "guest_ignored_reboot", f"{context.vm} did not reboot within {seconds} s; it still runs."
                    )
        finally:
            subscription.stop()


def refuse_unsettled(vm: VM) -> None:
    """Refuse work on a VM of which it is not known where it is. Raises NotAdmitted."""
    if vm.host is None or vm.missing_since is not None:
        raise NotAdmitted("vm_missing", f"No host shows {vm} at present.")
    if not vm.host.is_online:
        raise NotAdmitted("host_offline", f"The host {vm.host} of {vm} does not answer at present.")
