"""The approved definition of a VM: how it comes about, and what differs from it.

What is read first is approved, since somebody brought the VM under Slipway as it was. After that, a definition is
approved by a person, or by a job that is meant to bring another one about.
"""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import SYSTEM, Actor, System
from audit.events import EventAction
from audit.record import record
from hypervisor.document import lines_of
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, Definition

#: Longer definitions are not compared line by line, which takes the square of their length.
LINES_COMPARED = 5000
#: Lines of a difference that go into an event; the page shows all of them.
LINES_RECORDED = 40


def definition_read(vm: VM, xml: str, facts: dict[str, Any], read_at: datetime) -> bool:
    """Take in the definition that a host keeps. Whether it is another one than was read before."""
    known = Definition.objects.filter(vm=vm).first()
    if known is None:
        Definition.objects.create(
            vm=vm, xml=xml, facts=facts, read_at=read_at,
            approved_xml=xml, approved_facts=facts, approved_at=read_at, approved_because="as it was first seen",
        )  # fmt: skip
        return False
    if (known.xml, known.facts) == (xml, facts):
        Definition.objects.filter(pk=known.pk).update(read_at=read_at)
        return False
    is_other = lines_of(known.xml) != lines_of(xml)
    known.xml, known.facts, known.read_at = xml, facts, read_at
    _save(known)
    return is_other


def difference(definition: Definition) -> list[str]:
    """Lines that lead from the approved definition to the one there is: `- ` gone, `+ ` new, with three around each."""
    was, is_now = _shown(definition.approved_xml, definition.approved_facts), _shown(definition.xml, definition.facts)
    if max(len(was), len(is_now)) > LINES_COMPARED:
        return [f"@@ {len(was)} lines were approved, {len(is_now)} are there: too many to compare @@"]
    changes = difflib.unified_diff(was, is_now, lineterm="", n=3)
    return [line for line in list(changes)[2:] if line]


@transaction.atomic
def job_brought(vm: VM, job: str) -> None:
    """A job whose purpose it is has brought the definition about that was just read: it is the approved one from now
    on. Asked by the job itself, after its own reading: what is changed later is another's doing.
    """
    definition = Definition.objects.select_for_update(of=("self",)).filter(vm=vm, differs=True).first()
    if definition is not None:
        _approve(definition, SYSTEM, f"brought about by {job}")


@transaction.atomic
def carried_over(vm: VM, xml: str) -> None:
    """A job has moved what the source kept as `xml`, and just read it at the destination. If that was the approved
    definition, the same facts in the destination's own form are approved; whatever else differs was another's doing.
    """
    definition = Definition.objects.select_for_update(of=("self",)).filter(vm=vm, differs=True).first()
    if definition is None or definition.facts != definition.approved_facts:
        return
    if lines_of(xml) == lines_of(definition.approved_xml):
        _approve(definition, SYSTEM, "the same, as another host writes it")


@transaction.atomic
def definition_approve(*, actor: Actor, vm: VM, seen: str, reason: str = "") -> Definition:
    """Say yes to the definition as it is now. Needs APPROVE on the VM.

    `seen` is the digest of what the actor looked at: a change that came since is another matter. Raises NotVisible,
    NotAllowed, InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.APPROVE, vm)
    definition = Definition.objects.select_for_update(of=("self",)).filter(vm=vm).first()
    if definition is None or not definition.differs:
        raise InvalidInventoryRequest(f"The definition of {vm} is the approved one.")
    if definition.digest != seen:
        raise InvalidInventoryRequest("The definition has changed since you looked at it; look again.", field="seen")
    return _approve(definition, actor, reason)


def _approve(definition: Definition, actor: Actor, reason: str) -> Definition:
    lines = difference(definition)
    definition.approved_xml, definition.approved_facts = definition.xml, definition.facts
    definition.approved_at = timezone.now()
    definition.approved_by = None if isinstance(actor, System) else actor
    definition.approved_because = reason[:500]
    _save(definition)
    record(
        EventAction.VM_DEFINITION_APPROVED,
        target=definition.vm,
        actor=actor,
        reason=reason,
        detail={"lines": lines[:LINES_RECORDED], "left_out": max(0, len(lines) - LINES_RECORDED)},
    )
    return definition


def _save(definition: Definition) -> None:
    same_facts = definition.approved_facts == definition.facts
    definition.differs = not same_facts or lines_of(definition.approved_xml) != lines_of(definition.xml)
    definition.save()


def _shown(xml: str, facts: dict[str, Any]) -> list[str]:
    """The document, and what hosts keep beside it."""
    return [*lines_of(xml), f"autostart: {'yes' if facts.get('autostart') else 'no'}"]
