"""A request that names a foreign object is answered as if it did not exist, and stands in the record."""

from __future__ import annotations

import pytest
from django.test import Client

from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from tests import factories as make

pytestmark = pytest.mark.django_db


def post(user, body):
    headers = {"authorization": f"Token {make.token(user)}"}
    return Client(headers=headers).post("/api/v1/jobs/", body, content_type="application/json")


def test_reaching_for_another_teams_vm_is_recorded_and_for_nothing_at_all_is_not():
    ours, theirs = make.segment(), make.segment()
    user, foreign = make.user_with("maintainer", ours), make.vm(segment=theirs)
    answers = []
    for target in (foreign.pk, str(foreign.uuid), 999_999):
        answer = post(user, {"operation": "vm.migrate", "target": {"vm": target}})
        assert answer.status_code == 404
        answers.append({key: value for key, value in answer.json().items() if key != "request_id"})
    assert answers[0] == answers[1] == answers[2]
    events = AuditEvent.objects.filter(action=EventAction.ACCESS_REFUSED)
    assert [(event.object_id, event.actor_name, event.outcome) for event in events] == [
        (str(foreign.pk), user.username, Outcome.REFUSED)
    ] * 2
