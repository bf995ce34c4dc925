"""The access matrix on the auditors' site: the page, the reasons, the file, and what the record tells of each."""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from access.actions import Action
from access.gate import SYSTEM
from access.models import Effect, Grant
from access.services.grants import grant_revoke, write_rows
from access.services.people import member_remove
from audit.canonical import instant
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from audit.record import Target, record, record_alone
from inventory.models import Host
from inventory.services.segments import vm_assign_segment
from tests import factories as make

pytestmark = pytest.mark.django_db

PAGE = "/admin/access/matrix/"
HOSTILE = '=cmd|"/c calc"!A1'


@pytest.fixture
def auditor(client: Client) -> Client:
    client.force_login(make.user_with("auditor", username="aude"))
    return client


@pytest.fixture
def story() -> dict[str, Any]:
    """Until `then`, Vic patched accounting's VMs through a team; since, nothing is as it was."""
    accounting, lab = make.segment("accounting"), make.segment("lab")
    ledger, bench = make.vm("ledger", segment=accounting), make.vm("bench", segment=lab)
    vic, eve = make.user("vic", full_name=HOSTILE), make.user("eve")
    books = make.team("books", members=[vic])
    grant = make.grant(books, "maintainer", accounting, reason="year's end")
    make.grant(eve, "operator", lab)
    denial = make.grant(eve, make.role_of("power"), bench, effect=Effect.DENY)
    number, then = grant.pk, timezone.now()
    grant_revoke(actor=SYSTEM, grant=grant)
    grant_revoke(actor=SYSTEM, grant=denial)
    member_remove(actor=SYSTEM, team=books, user=vic)
    vm_assign_segment(actor=SYSTEM, vm=ledger, segment=lab)
    return {"at": instant(then), "ledger": ledger, "bench": bench, "accounting": accounting, "lab": lab, "vic": vic,
            "eve": eve, "books": books, "grant": number}  # fmt: skip


def shown(client: Client, **query: Any) -> dict[str, dict[str, set[str]]]:
    """Object -> person -> actions, as on the page; without the auditor."""
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return {
        block.target.name: {
            line.user.username: {action.value for action in line.held}
            for line in block.lines
            if line.user.username != "aude"
        }
        for block in answer.context["blocks"]
    }


OPERATOR = {"view", "power", "console", "snapshot"}
MAINTAINER = OPERATOR | {"revert", "delete_snapshot", "patch", "migrate", "edit"}


def test_now_and_then(auditor, story):
    assert shown(auditor) == {"ledger": {"eve": OPERATOR}, "bench": {"eve": OPERATOR}}
    assert shown(auditor, at=story["at"]) == {"ledger": {"vic": MAINTAINER}, "bench": {}}
    assert shown(auditor, kind="segment", at=story["at"]) == {
        "accounting": {"vic": MAINTAINER},
        "lab": {"eve": OPERATOR},
    }


def test_narrowed_to_a_segment_it_goes_by_where_the_vms_were(auditor, story):
    segment = story["accounting"].pk
    assert shown(auditor, segment=segment) == {}
    assert shown(auditor, segment=segment, at=story["at"]) == {"ledger": {"vic": MAINTAINER}}
    assert set(shown(auditor, segment=story["lab"].pk)) == {"ledger", "bench"}
    assert set(shown(auditor, segment=story["lab"].pk, at=story["at"])) == {"bench"}
    assert set(shown(auditor, segment=segment, kind="segment")) == {"accounting"}


@pytest.fixture
def hosts() -> dict[str, Any]:
    """Pia operated a cluster until `then`, and Hal one of its hosts; since, neither does."""
    coast, hills = make.cluster("coast"), make.cluster("hills")
    pia, hal = make.user("pia"), make.user("hal")
    make.host("quay", cluster=coast), make.host("pier", cluster=coast), make.host("peak", cluster=hills)
    grants = [
        make.grant(pia, make.role_of("view", "operate_host"), coast),
        make.grant(hal, "placement", Host.objects.get(name="quay")),
        make.grant(pia, "viewer", Host.objects.get(name="pier"), effect=Effect.DENY),
    ]
    then = timezone.now()
    for grant in grants:
        grant_revoke(actor=SYSTEM, grant=grant)
    return {"at": instant(then), "coast": coast, "pia": pia}


OPERATES, PLACES = {"view", "operate_host"}, {"view", "place"}


def test_hosts_and_clusters(auditor, hosts):
    at = hosts["at"]
    assert shown(auditor, kind="host") == {"peak": {}, "pier": {}, "quay": {}}
    assert shown(auditor, kind="host", at=at) == {"peak": {}, "pier": {}, "quay": {"hal": PLACES, "pia": OPERATES}}
    assert shown(auditor, kind="cluster", at=at) == {"coast": {"pia": OPERATES}, "hills": {}}
    assert shown(auditor, kind="host", at=at, person="pia") == {"pier": {"pia": set()}, "quay": {"pia": OPERATES}}
    assert shown(auditor, kind="host", at=at, person="hal") == {"quay": {"hal": PLACES}}
    assert shown(auditor, kind="cluster", at=at, person="hal") == {}
    assert shown(auditor, kind="host", person="pia") == {}
    assert set(shown(auditor, kind="cluster", name="HILL", at=at)) == {"hills"}
    page = auditor.get(PAGE, {"kind": "host", "at": at}).content.decode()
    assert "in cluster coast" in page
    assert "3 hosts" in " ".join(page.split())


def test_why_on_a_cluster(auditor, hosts):
    asked = {"kind": "cluster", "target": hosts["coast"].pk, "user": hosts["pia"].pk, "action": "operate_host"}
    assert "did not hold" in auditor.get(f"{PAGE}why/", asked).content.decode()
    answer = auditor.get(f"{PAGE}why/", asked | {"at": hosts["at"]})
    assert answer.context["answer"].allowed
    table = b"".join(auditor.get(f"{PAGE}csv/", {"kind": "cluster", "at": hosts["at"]}).streaming_content).decode()
    assert ",cluster," in table
    assert ",pia," in table


def test_hosts_are_in_no_segment(auditor, story, hosts):
    answer = auditor.get(PAGE, {"kind": "host", "segment": story["lab"].pk})
    assert "Hosts and clusters are in no segment." in answer.content.decode()
    assert "blocks" not in answer.context


def test_narrowed_to_people_it_goes_by_who_was_where(auditor, story):
    at = story["at"]
    assert shown(auditor, person="vic") == {}
    assert shown(auditor, person="vic", at=at) == {"ledger": {"vic": MAINTAINER}}
    assert shown(auditor, team=story["books"].pk) == {}
    assert shown(auditor, team=story["books"].pk, at=at) == {"ledger": {"vic": MAINTAINER}}
    assert shown(auditor, team=story["books"].pk, person="eve", at=at) == {}
    assert shown(auditor, person="eve", name="BENCH") == {"bench": {"eve": OPERATOR}}
    assert set(shown(auditor, person="aude")) == {"ledger", "bench"}  # on everything


@pytest.mark.parametrize("kind", ["vm", "segment"])
def test_what_an_auditor_is_denied_stays_out(auditor, story, kind):
    person = make.user_with("auditor", username="half")
    make.grant(person, "viewer", story["lab"], effect=Effect.DENY)
    auditor.force_login(person)
    assert set(shown(auditor, kind=kind)) == ({"accounting"} if kind == "segment" else set())
    asked = {"kind": "vm", "target": story["bench"].pk, "user": story["eve"].pk, "action": "view"}
    assert auditor.get(f"{PAGE}why/", asked).status_code == 404
    choices = auditor.get(PAGE).context["form"].fields["segment"].queryset
    assert [segment.name for segment in choices] == ["accounting"]


def test_nobody_and_nothing_have_no_reasons(auditor, story):
    asked = {"kind": "vm", "target": story["bench"].pk, "user": story["eve"].pk, "action": "view"}
    assert auditor.get(f"{PAGE}why/", asked).status_code == 200
    assert auditor.get(f"{PAGE}why/", asked | {"user": 987_654}).status_code == 404
    assert auditor.get(f"{PAGE}why/", asked | {"target": 987_654}).status_code == 404


def test_each_cell_leads_to_its_reasons(auditor, story):
    asked = {"kind": "vm", "target": story["ledger"].pk, "user": story["vic"].pk, "action": "patch", "at": story["at"]}
    text = auditor.get(PAGE, {"at": story["at"]}).content.decode()
    wanted = f"user={story['vic'].pk}&amp;action=patch&amp;at={story['at'].replace(':', '%3A')}"
    assert wanted in text
    answer = auditor.get(f"{PAGE}why/", asked)
    assert answer.context["answer"].allowed
    assert "maintainer on segment accounting through the team books" in answer.content.decode()
    assert f"object_type=grant&amp;object_id={story['grant']}" in answer.content.decode()
    del asked["at"]
    answer = auditor.get(f"{PAGE}why/", asked)
    assert answer.context["answer"].sentence.endswith("no grant gave it.")


def test_a_denial_that_is_no_more_is_told_of_its_time(auditor, story):
    asked = {"kind": "vm", "target": story["bench"].pk, "user": story["eve"].pk, "action": "power"}
    assert auditor.get(f"{PAGE}why/", asked).context["answer"].allowed
    answer = auditor.get(f"{PAGE}why/", asked | {"at": story["at"]}).context["answer"]
    assert not answer.allowed
    assert "denied by" in answer.sentence


def test_a_grant_that_the_record_does_not_tell_of_is_marked(auditor, story):
    """Somebody wrote it into the database, behind Slipway's back."""
    grant = Grant.objects.create(user=story["eve"], role=make.role("owner"), segment=story["lab"], reason="mine")
    write_rows(grant)
    asked = {"kind": "vm", "target": story["bench"].pk, "user": story["eve"].pk, "action": "view"}
    text = auditor.get(f"{PAGE}why/", asked).content.decode()
    assert text.count("no event tells that it was given") == 1
    assert f"{grant.pk}: no event tells" in text
    assert text.count(", in the record</a>") == 1


def test_each_look_is_recorded_with_its_question(auditor, story):
    auditor.get(PAGE, {"at": story["at"], "person": "vic"})
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.actor_name) == (EventAction.AUDIT_READ, "aude")
    asked = {"at": story["at"], "person": "vic"}
    assert event.detail == {"page": "access matrix", "at": story["at"], "query": asked}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"at": "2020-01-01"}, "can&#x27;t be known"),
        ({"at": "2999-01-01"}, "has not been yet"),
        ({"at": "soon"}, "Enter a valid date/time."),
        ({"person": "<b>nobody</b>"}, "There is no account of that user name."),
        ({"segment": "999999"}, "Select a valid choice"),
        ({"kind": "person"}, "Select a valid choice"),
    ],
)
def test_what_makes_no_sense_is_said(auditor, story, query, sentence):
    count = AuditEvent.objects.count()
    answer = auditor.get(PAGE, query)
    assert sentence in answer.content.decode()
    assert "blocks" not in answer.context
    assert "<b>nobody" not in answer.content.decode()
    assert auditor.get(f"{PAGE}csv/", query).status_code == 400
    assert AuditEvent.objects.count() == count


def test_it_is_said_when_the_record_does_not_tell_enough(auditor, story):
    record_alone(EventAction.TEAM_DELETED, target=Target(type="team", id="4711"), actor=SYSTEM)
    assert "This is not certain" in auditor.get(PAGE, {"at": story["at"]}).content.decode()
    assert "This is not certain" not in auditor.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("action", "noun", "query"),
    [
        (EventAction.VM_SEGMENT_ASSIGNED, "vm", "segment"),
        (EventAction.GRANT_REVOKED, "grant", "person"),
        (EventAction.MEMBERSHIP_REMOVED, "team", "team"),
    ],
)
def test_it_is_said_too_when_what_is_missing_would_have_been_listed(auditor, story, action, noun, query):
    about = {"vm": "4711", "grant": "4711", "team": str(story["books"].pk)}[noun]
    record_alone(action, target=Target(type=noun, id=about), actor=SYSTEM, before={"segment": "lab"})
    asked = {"segment": story["lab"].pk, "person": "eve", "team": story["books"].pk}[query]
    assert "This is not certain" in auditor.get(PAGE, {"at": story["at"], query: asked}).content.decode()


def taken(client: Client, **query: Any) -> bytes:
    answer = client.get(f"{PAGE}csv/", query)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


def test_the_file_holds_all_of_it_and_no_formula(auditor, story, monkeypatch):
    monkeypatch.setattr("portal.admin.access_matrix.BATCH", 1)
    monkeypatch.setattr("portal.admin.access_matrix.PER_PAGE", 1)
    content = taken(auditor, at=story["at"])
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [(row["object_name"], row["user"]) for row in rows] == [
        ("bench", "aude"),
        ("ledger", "aude"),
        ("ledger", "vic"),
    ]
    row = rows[-1]
    assert row["full_name"] == f"'{HOSTILE}"
    assert {action.value for action in Action if row[action.value] == "yes"} == MAINTAINER
    assert (row["at"], row["known"], row["segment_id"]) == (story["at"], "yes", str(story["accounting"].pk))
    intent, end = AuditEvent.objects.filter(action=EventAction.AUDIT_EXPORTED).order_by("pk")
    assert (intent.outcome, end.outcome) == (Outcome.INTENT, Outcome.OK)
    assert end.detail["report"] == "access matrix"
    assert (end.detail["count"], end.detail["sha256"]) == (3, hashlib.sha256(content).hexdigest())


def test_who_may_not_export_is_refused(client, story):
    client.force_login(make.user_with(make.role_of("read_audit"), username="reader"))
    assert client.get(PAGE).status_code == 200
    assert "csv" not in client.get(PAGE).content.decode()
    assert client.get(f"{PAGE}csv/").status_code == 403


def test_a_long_list_comes_in_pages_and_many_people_are_cut(auditor, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr("portal.admin.access_matrix.MOST_PEOPLE", 2)
    segment = make.segment()
    make.vms(25, segment=segment)
    make.grant(make.team(members=[make.user() for _ in range(5)]), "viewer", segment)
    with django_assert_max_num_queries(30):
        answer = auditor.get(PAGE, {"p": "3"})
    assert [len(block.shown) for block in answer.context["blocks"]] == [2] * 5
    assert "4 more people" in answer.content.decode()  # the auditor too
    assert answer.context["page"].number == 3


def test_an_event_leads_to_who_might_do_what_then(auditor, story):
    event = AuditEvent.objects.filter(action=EventAction.VM_SEGMENT_ASSIGNED).get()
    text = auditor.get(f"/admin/audit/auditevent/{event.pk}/change/").content.decode()
    assert "who might do what with it then" in text
    assert shown(auditor, kind="vm", name="ledger", at=instant(event.at)) == {"ledger": {"eve": OPERATOR}}
    before = instant(event.at - timedelta(microseconds=1))
    assert shown(auditor, kind="vm", name="ledger", at=before) == {"ledger": {}}


def test_the_command_tells_of_the_past(story, capsys):
    with pytest.raises(SystemExit):
        call_command("access_explain", "vic", "patch", "vm:ledger", at=None)
    call_command("access_explain", "vic", "patch", "vm:ledger", "--at", story["at"])
    said = capsys.readouterr().out
    assert "held “Patch” on ledger: maintainer on segment accounting through the team books" in said
    assert f"[grant {story['grant']}]" in said
    with pytest.raises(SystemExit):
        call_command("access_explain", "eve", "view", "everything", "--at", story["at"])
    with pytest.raises(CommandError, match="begins at") as refused:
        call_command("access_explain", "vic", "patch", "vm:ledger", "--at", "2020-01-01")
    assert refused.value.returncode == 2
    record(EventAction.TEAM_DELETED, target=Target(type="team", id="4711"), actor=SYSTEM)
    with pytest.raises(CommandError, match="not certain") as refused:
        call_command("access_explain", "vic", "patch", "vm:ledger", "--at", story["at"])
    assert refused.value.returncode == 2
