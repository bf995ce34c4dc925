"""What segments and VMs say about their baselines."""

from __future__ import annotations

from typing import Any

import pytest

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.errors import InvalidInventoryRequest
from inventory.models import BaselinePolicy
from inventory.services.baselines import segment_set_baseline, vm_set_installed
from inventory.services.segments import segment_create
from tests import factories as make

pytestmark = pytest.mark.django_db


def test_a_new_segment_asks_for_a_baseline_of_each_vm() -> None:
    segment = segment_create(actor=SYSTEM, name="accounting")
    assert (segment.baseline_policy, segment.longest_baseline_pause) == (BaselinePolicy.ADOPTED, 10)


def test_a_segment_is_changed_by_who_may_edit_it_and_recorded_when_it_says_something_new() -> None:
    segment = make.segment()
    change: dict[str, Any] = {"segment": segment, "policy": "adopted", "longest_pause": 30}
    for refused, who in ((NotAllowed, make.user_with("operator", segment)), (NotVisible, make.user())):
        with pytest.raises(refused):
            segment_set_baseline(actor=who, **change)
    for _ in range(2):
        segment_set_baseline(actor=make.user_with("maintainer", segment), **change)
    event = AuditEvent.objects.get(action=EventAction.SEGMENT_CHANGED)
    assert event.before == {"baseline_policy": "installed", "longest_baseline_pause": 10}
    assert event.after == {"baseline_policy": "adopted", "longest_baseline_pause": 30}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"policy": "never"}, "no policy “never”; there are adopted, installed"),
        ({"longest_pause": -1}, "0 to 3600 s"),
        ({"longest_pause": 3601}, "0 to 3600 s"),
    ],
)
def test_nonsense_is_refused_and_nothing_is_changed(wrong: dict[str, Any], why: str) -> None:
    segment = make.segment()
    with pytest.raises(InvalidInventoryRequest, match=why):
        segment_set_baseline(actor=SYSTEM, segment=segment, **{"policy": "adopted", "longest_pause": 1} | wrong)
    segment.refresh_from_db()
    assert segment.baseline_policy == BaselinePolicy.INSTALLED


def test_a_vm_is_marked_by_who_may_take_its_baseline() -> None:
    segment = make.segment()
    vm, operator = make.vm(segment=segment), make.user_with("operator", segment)
    for refused, who in ((NotAllowed, make.user_with("viewer", segment)), (NotVisible, make.user())):
        with pytest.raises(refused):
            vm_set_installed(actor=who, vm=vm, installed=True)
    for _ in range(2):
        assert vm_set_installed(actor=operator, vm=vm, installed=True).installed_at is not None
    assert vm_set_installed(actor=operator, vm=vm, installed=False).installed_at is None
    events = AuditEvent.objects.filter(action=EventAction.VM_CHANGED).order_by("pk")
    assert [event.after for event in events] == [{"installed": True}, {"installed": False}]
