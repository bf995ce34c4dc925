"""What a host is available for: who says so, what is recorded, and since when it is not active."""

from __future__ import annotations

import pytest

from access.errors import NotAllowed, NotVisible
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import Host
from inventory.services.hosts import host_set_availability
from tests import factories as make

pytestmark = pytest.mark.django_db

A = Host.Availability


def test_only_who_operates_a_host_says_so() -> None:
    host = make.host()
    with pytest.raises(NotAllowed):
        host_set_availability(actor=make.user_with("placement", host), host=host, to=A.MAINTENANCE)
    with pytest.raises(NotVisible):
        host_set_availability(actor=make.user(), host=host, to=A.MAINTENANCE)
    assert Host.objects.get(pk=host.pk).availability == A.ACTIVE


def test_it_is_recorded_once_and_remembers_since_when() -> None:
    host, operator = make.host(), make.user_with("platform-operator")
    for to in (A.DRAINING, A.DRAINING, A.MAINTENANCE):
        host_set_availability(actor=operator, host=host, to=to, reason="new memory")
    drained = Host.objects.get(pk=host.pk)
    assert drained.in_maintenance
    assert drained.unavailable_since is not None
    told = AuditEvent.objects.filter(action=EventAction.HOST_CHANGED).order_by("pk")
    assert [(event.before["availability"], event.after["availability"], event.reason) for event in told] == [
        ("active", "draining", "new memory"), ("draining", "maintenance", "new memory"),
    ]  # fmt: skip
    host_set_availability(actor=operator, host=host, to=A.RESTORING)
    coming = Host.objects.get(pk=host.pk)
    assert (coming.in_maintenance, coming.unavailable_since) == (False, drained.unavailable_since)
    host_set_availability(actor=operator, host=host, to=A.ACTIVE)
    assert Host.objects.get(pk=host.pk).unavailable_since is None
