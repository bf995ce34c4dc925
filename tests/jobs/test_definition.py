"""The approved definition: how it comes about, what differs from it, and how it is brought back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from access.errors import NotAllowed, NotVisible
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.document import lines_of
from hypervisor.errors import HypervisorError
from inventory.approved import LINES_COMPARED, definition_approve, difference
from inventory.errors import InvalidInventoryRequest
from inventory.models import Definition, Host, SeenChange
from inventory.syncing import vm_details_read
from jobs.errors import NotAdmitted
from jobs.models import Step
from jobs.operations.registry import operation_named
from jobs.states import State
from tests import factories as make
from tests.jobs.test_attribution import later


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


def left(estate):
    return connect(estate.hosts[0].uri)


def uuid_of(estate) -> str:
    return str(estate.vm.uuid)


def kept(estate) -> str:
    return left(estate).guest_definition(uuid_of(estate)).xml


def changed_behind_our_back(estate, *, old: str = "<vcpu>1</vcpu>", new: str = "<vcpu>4</vcpu>") -> str:
    """Somebody edits the definition on the host; returns what it was."""
    before = kept(estate)
    assert old in before, before
    left(estate).redefine(uuid_of(estate), before.replace(old, new))
    read_again(estate)
    return before


def read_again(estate) -> None:
    estate.vm.refresh_from_db()
    vm_details_read(estate.vm, left(estate))


def definition(estate) -> Definition:
    return Definition.objects.get(vm=estate.vm)


def test_what_is_seen_first_is_approved(estate):
    found = definition(estate)
    assert not found.differs
    assert difference(found) == []
    assert (found.approved_xml, found.approved_because) == (found.xml, "as it was first seen")
    assert lines_of(found.xml) == lines_of(kept(estate))


def test_a_change_outside_the_listed_facts_is_noticed_and_shown_line_by_line(estate):
    changed_behind_our_back(estate)
    found = definition(estate)
    assert found.differs
    lines = difference(found)
    assert [line for line in lines if line[0] == "-"] == ["-  <vcpu>1</vcpu>"]
    assert [line for line in lines if line[0] == "+"] == ["+  <vcpu>4</vcpu>"]
    assert later(seconds=10) == 1
    assert SeenChange.objects.get(verdict="outside").kind == SeenChange.Kind.DEFINITION


def test_one_hostile_definition_costs_its_host_nothing(estate, monkeypatch):
    plain = left(estate).guest_definition(uuid_of(estate))
    hostile = replace(plain, xml="<a>" * 20_000 + "</a>" * 20_000)
    monkeypatch.setattr(
        "hypervisor.simulated_driver.driver.SimulatedHypervisor.guest_definition", lambda self, uuid: hostile
    )
    estate.sync()
    assert all(Host.objects.get(pk=host.pk).is_online for host in estate.hosts)
    assert definition(estate).xml == plain.xml


def test_a_huge_definition_is_told_from_another_without_comparing_it(estate):
    found = definition(estate)
    found.xml = "<a>" + "<b/>" * LINES_COMPARED + "</a>"
    assert len(difference(found)) == 1


def test_what_is_the_same_in_another_form_is_no_change(estate):
    left(estate).redefine(uuid_of(estate), kept(estate).replace("  ", "\t"))
    read_again(estate)
    assert not definition(estate).differs
    assert not SeenChange.objects.exists()


def test_the_approved_definition_is_brought_back(estate):
    before = changed_behind_our_back(estate)
    left(estate).set_autostart(uuid_of(estate), True)
    read_again(estate)
    job = estate.do("vm.restore_definition")
    assert job.state == State.SUCCEEDED, job.error_message
    assert lines_of(kept(estate)) == lines_of(before)
    assert not left(estate).guest_definition(uuid_of(estate)).autostart
    assert not definition(estate).differs
    assert job.result["takes_effect"] == "at its next start"
    intents = AuditEvent.objects.filter(action=EventAction.EFFECT_INTENT).order_by("pk")
    calls = [event.detail["call"] for event in intents]
    assert calls == ["redefine", "set_autostart"]


def test_restoring_is_not_taken_for_a_change_from_outside(estate):
    changed_behind_our_back(estate)
    later(seconds=10)
    SeenChange.objects.all().delete()
    assert estate.do("vm.restore_definition").state == State.SUCCEEDED
    assert later(seconds=10) == 0
    assert not SeenChange.objects.filter(verdict="outside").exists()


def test_there_is_nothing_to_restore_where_nothing_differs(estate):
    with pytest.raises(NotAdmitted, match="approved one"):
        estate.submit("vm.restore_definition")


def test_a_definition_approved_meanwhile_is_not_undone(estate):
    changed_behind_our_back(estate)
    job = estate.submit("vm.restore_definition")
    approve(estate, make.user_with("owner", estate.segment))
    changed_behind_our_back(estate, old="<vcpu>4</vcpu>", new="<vcpu>2</vcpu>")
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "approved_meanwhile")
    assert "<vcpu>2</vcpu>" in kept(estate)


def test_a_definition_that_does_not_stay_is_put_back_as_it_was_found(estate, monkeypatch):
    changed_behind_our_back(estate)
    found = kept(estate)

    def wrong(self, context):
        raise HypervisorError("The host keeps something else.")

    monkeypatch.setattr(type(operation_named("vm.restore_definition")), "verify", wrong)
    job = estate.do("vm.restore_definition")
    assert job.state == State.FAILED
    assert "as it was found" in job.error_message
    assert lines_of(kept(estate)) == lines_of(found)
    assert Step.objects.get(job=job, name="define_back").state == Step.State.DONE


def test_a_stopped_vm_takes_it_at_once(estate):
    left(estate).force_off(uuid_of(estate))
    changed_behind_our_back(estate)
    estate.sync()
    job = estate.do("vm.restore_definition")
    assert (job.state, job.result["takes_effect"]) == (State.SUCCEEDED, "now")


# Approving


def approve(estate, actor, **given):
    asked = {"seen": definition(estate).digest, "reason": "more memory, ordered"} | given
    return definition_approve(actor=actor, vm=estate.vm, **asked)


def test_a_person_says_yes_to_what_they_looked_at(estate):
    changed_behind_our_back(estate)
    owner = make.user_with("owner", estate.segment)
    approve(estate, owner)
    found = definition(estate)
    assert not found.differs
    assert (found.approved_by, found.approved_because) == (owner, "more memory, ordered")
    event = AuditEvent.objects.get(action=EventAction.VM_DEFINITION_APPROVED)
    assert event.actor_name == owner.username
    assert "+  <vcpu>4</vcpu>" in event.detail["lines"]


def test_what_changed_after_the_look_is_not_approved(estate):
    changed_behind_our_back(estate)
    seen = definition(estate).digest
    changed_behind_our_back(estate, old="<vcpu>4</vcpu>", new="<vcpu>64</vcpu>")
    with pytest.raises(InvalidInventoryRequest, match="look again"):
        approve(estate, make.user_with("owner", estate.segment), seen=seen)
    assert definition(estate).differs


def test_only_who_may_approve_approves(estate):
    changed_behind_our_back(estate)
    with pytest.raises(NotAllowed):
        approve(estate, estate.user)
    with pytest.raises(NotVisible):
        approve(estate, make.user_with("owner", make.segment()))
    with pytest.raises(NotVisible):
        estate.submit("vm.restore_definition", by=make.user())
    with pytest.raises(NotAllowed):
        estate.submit("vm.restore_definition", by=make.user_with("operator", estate.segment))


def test_approving_what_is_approved_is_refused(estate):
    with pytest.raises(InvalidInventoryRequest, match="is the approved one"):
        approve(estate, make.user_with("owner", estate.segment))


# What jobs bring about


def test_going_back_to_a_snapshot_brings_its_definition_along(estate):
    estate.do("snapshot.create", name="base")
    changed_behind_our_back(estate)
    approve(estate, make.user_with("owner", estate.segment))
    assert estate.do("snapshot.revert", snapshot="base").state == State.SUCCEEDED
    read_again(estate)
    later(seconds=10)
    found = definition(estate)
    assert "<vcpu>1</vcpu>" in found.xml
    assert not found.differs
    assert found.approved_by is None


def test_what_is_changed_right_after_a_revert_is_not_what_the_revert_brought(estate):
    estate.do("snapshot.create", name="base")
    assert estate.do("snapshot.revert", snapshot="base").state == State.SUCCEEDED
    changed_behind_our_back(estate)
    later(seconds=10)
    assert definition(estate).differs


def test_what_is_changed_right_after_a_migration_did_not_come_with_it(estate):
    moved(estate)
    right = connect(estate.hosts[1].uri)
    right.redefine(uuid_of(estate), right.guest_definition(uuid_of(estate)).xml.replace(">1</vcpu>", ">4</vcpu>"))
    vm_details_read(estate.vm, right)
    later(seconds=6)
    assert definition(estate).differs


def test_a_migration_makes_nothing_else_the_approved_definition(estate):
    changed_behind_our_back(estate)
    moved(estate)
    assert definition(estate).differs


def test_the_same_definition_in_the_other_hosts_form_stays_approved(estate, monkeypatch):
    from hypervisor.simulated_driver import definition as written

    plain = written.domain_xml
    moved(
        estate,
        before=lambda: monkeypatch.setattr(
            written,
            "domain_xml",
            lambda guest: (
                plain(guest).replace("</domain>", "<features><acpi/></features></domain>")
                if guest["host"] == "right"
                else plain(guest)
            ),
        ),
    )
    found = definition(estate)
    assert "<acpi" in found.approved_xml
    assert not found.differs
    assert found.approved_because == "the same, as another host writes it"


def moved(estate, before=lambda: None) -> None:
    """Migrate, read what arrived, and let the changes be attributed."""
    before()
    assert estate.do("vm.migrate").state == State.SUCCEEDED
    estate.vm.refresh_from_db()
    vm_details_read(estate.vm, connect(estate.hosts[1].uri))
    later(seconds=10)
