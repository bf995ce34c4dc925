"""`vm.restore_definition`: what somebody changed on the host goes back to what was approved."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from access.actions import Action
from access.gate import Actor
from hypervisor.document import lines_of
from hypervisor.types import GuestDefinition, PowerState
from inventory.models import VM, Definition
from inventory.syncing import vm_details_read
from jobs.errors import NotAdmitted, OperationFailed
from jobs.operations.base import Operation
from jobs.operations.power import refuse_unsettled

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


class RestoreDefinition(Operation):
    """Define the VM on its host as approved. A VM that runs goes on as it is until its next start."""

    name = "vm.restore_definition"
    label = "Restore the approved definition"
    action = Action.EDIT

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        definition = Definition.objects.filter(vm=target).first()
        if definition is None or not definition.differs:
            raise NotAdmitted("nothing_to_restore", f"The definition of {target} is the approved one.")
        params["approved"] = _digest(definition.approved_xml)

    def precheck(self, context: JobContext) -> None:
        host, approved = context.home(), Definition.objects.get(vm=context.vm)
        with context.step("approved", "See that what was approved is still that"):
            if _digest(approved.approved_xml) != context.params["approved"]:
                raise OperationFailed("approved_meanwhile", "Another definition was approved meanwhile.")
        with context.step("definition", "Read the definition that the host keeps") as step:
            found = context.on(host).guest_definition(context.uuid)
            if not found.persistent:
                raise OperationFailed("vm_transient", f"{context.vm} is transient: {host} keeps no definition of it.")
            step.detail = "as approved" if _is(found, approved.approved_xml) else "another one"
        context.note(
            was={"xml": found.xml, "autostart": found.autostart},
            wanted={"xml": approved.approved_xml, "autostart": approved.approved_facts["autostart"]},
        )

    def execute(self, context: JobContext) -> None:
        with context.step("define", "Define the VM as approved", shown_at_once=False):
            self._define(context, context.job.journal["wanted"], context.effect)

    def verify(self, context: JobContext) -> None:
        connection, wanted = context.on(context.home()), context.job.journal["wanted"]
        with context.step("verify", "See that the host keeps the approved definition"):
            found = connection.guest_definition(context.uuid)
            if not _is(found, wanted["xml"]) or found.autostart != wanted["autostart"]:
                raise OperationFailed("definition_differs", "The host keeps another definition than the approved one.")
        runs = connection.guest_state(context.uuid).state is not PowerState.SHUT_OFF
        context.result(takes_effect="at its next start" if runs else "now")
        vm_details_read(context.vm, connection)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        with context.step("define_back", "Define the VM as it was found", shown_at_once=False):
            self._define(context, context.job.journal["was"], context.undo_effect)
        return "The definition is as it was found."

    def _define(self, context: JobContext, wanted: dict[str, Any], do: Any) -> None:
        """Bring definition and autostart about where they are not what is wanted; asked of the host first."""
        host, uuid = context.home(), context.uuid
        connection = context.on(host)
        found = connection.guest_definition(uuid)
        if not _is(found, wanted["xml"]):
            do("redefine", lambda: connection.redefine(uuid, wanted["xml"]), host=host)
        if found.autostart != wanted["autostart"]:
            do("set_autostart", lambda: connection.set_autostart(uuid, wanted["autostart"]), host=host)


def _is(found: GuestDefinition, xml: str) -> bool:
    return lines_of(found.xml) == lines_of(xml)


def _digest(xml: str) -> str:
    return hashlib.sha256(xml.encode()).hexdigest()
