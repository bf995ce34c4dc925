"""The record over the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make
from tests.api.conftest import problem


@pytest.fixture
def auditor(db, call):
    return call(make.user_with("auditor", username="aud"))


def test_only_who_may_read_everything_of_it(estate, auditor, maintainer, call):
    assert auditor.get("audit-events/").status_code == 200
    event = AuditEvent.objects.latest("pk")
    local = call(make.user_with("auditor", estate.web))
    for caller in (maintainer, local):
        for path in ("audit-events/", f"audit-events/{event.pk}/", "audit-events/987654/"):
            problem(caller.get(path), 403, "not_allowed")
    refusal = AuditEvent.objects.filter(action=EventAction.ACCESS_REFUSED).latest("pk")
    assert refusal.detail["action"] == "read_audit"


def test_an_event_with_everything_that_is_sealed(estate, auditor, maintainer):
    answer = maintainer.submit(estate.vm)
    event = AuditEvent.objects.get(action=EventAction.JOB_SUBMITTED)
    found = auditor.get(f"audit-events/{event.pk}/").json()
    assert (found["action"], found["actor_name"], found["via"]) == ("job.submitted", "mara", "api")
    assert (found["object_type"], found["object_uuid"]) == ("job", str(estate.vm.uuid))
    assert found["request_id"] == answer["X-Request-ID"]
    columns = {field.name for field in AuditEvent._meta.fields} - {"version"}
    assert set(found) == columns | {"sign_in"}
    assert found["sign_in"] == "token"


def test_it_can_be_narrowed_and_not_changed(estate, auditor, maintainer):
    job = maintainer.submit(estate.vm).json()
    maintainer.post(f"jobs/{job['id']}/cancel/", {})
    event = AuditEvent.objects.get(action=EventAction.JOB_CANCELLED)
    before, after = event.at - timedelta(microseconds=1), event.at + timedelta(microseconds=1)

    def actions(**query) -> set[str]:
        answer = auditor.get("audit-events/", **query)
        assert answer.status_code == 200, answer.json()
        return {found["action"] for found in answer.json()["results"]}

    assert actions(actor="mara") == actions(actor=maintainer.user.pk) == {"job.submitted", "job.cancelled"}
    assert actions(action=["job.cancelled", "role.deleted"]) == {"job.cancelled"}
    assert actions(object_type="job", object_id=job["id"]) == {"job.submitted", "job.cancelled"}
    assert actions(segment=estate.web.pk) >= {"job.submitted", "job.cancelled", "grant.created"}
    assert actions(actor="mara", since=before.isoformat(), until=after.isoformat()) == {"job.cancelled"}
    assert actions(since=(timezone.now() + timedelta(hours=1)).isoformat()) == set()
    assert actions(request=event.request_id) == {"job.cancelled"}
    assert actions(job="no-such-job") == set()
    for query in ({"action": "vm.flew"}, {"since": "yesterday"}, {"actor_name": "x"}):
        problem(auditor.get("audit-events/", **query), 400, "invalid", next(iter(query)))
    problem(auditor.send("PATCH", f"audit-events/{event.pk}/", "{}"), 405, "method_not_allowed")
    problem(auditor.delete(f"audit-events/{event.pk}/"), 405, "method_not_allowed")


def test_the_newest_first(auditor, estate):
    auditor.submit(estate.vm)
    ids = [found["id"] for found in auditor.get("audit-events/").json()["results"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) > 1


def test_an_auditor_sees_everything_and_changes_nothing(estate, auditor):
    assert auditor.get("vms/").json()["count"] == 2
    problem(auditor.submit(estate.vm), 403, "not_allowed")
    problem(auditor.post("segments/", {"name": "x"}), 403, "not_allowed")
