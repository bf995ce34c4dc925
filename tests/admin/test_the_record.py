"""The list of events: what is found, what is taken away as a file, by whom, and what the record tells of it."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import warnings
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import signals
from django.db import close_old_connections, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.actions import Action
from audit import selectors
from audit.context import acting
from audit.events import EventAction, Outcome
from audit.export import Tally, told
from audit.models import AuditEvent
from audit.record import Target, record_alone
from portal.admin.exports import FORMATS, Download, safe
from tests import factories as make
from tests.audit.helpers import seal
from tests.audit.offline import clean

pytestmark = pytest.mark.django_db

LIST = "/admin/audit/auditevent/"
UUID = "6f0e5f0e-0000-4000-8000-00000000000"
HOSTILE = '=cmd|"/c calc"!A1 <script>alert(1)</script>'


@pytest.fixture(autouse=True)
def _files(settings: Any, tmp_path: Any) -> None:
    settings.SLIPWAY_SEAL_KEY_FILE = tmp_path / "keys" / "audit-seal.key"
    settings.SLIPWAY_AUDIT_ANCHOR_FILE = tmp_path / "audit" / "anchors.jsonl"


@pytest.fixture
def auditor(client: Client) -> Client:
    """A client that an auditor is signed in with."""
    client.force_login(make.user_with("auditor", username="auditor"))
    return client


@pytest.fixture
def events() -> list[AuditEvent]:
    """Ten events; number n happened n hours after the first."""
    start = timezone.now() - timedelta(days=2)
    made = []
    for n in range(10):
        event = AuditEvent(
            at=start + timedelta(hours=n),
            action=[EventAction.VM_CHANGED, EventAction.JOB_STARTED][n % 2],
            outcome=[Outcome.OK, Outcome.REFUSED, Outcome.FAILED][n % 3],
            actor_kind="user",
            actor_id=str(100 + n % 4),
            actor_name=f"Person {n % 4}",
            on_behalf_of_id="103" if n == 4 else "",
            via=["web", "api"][n % 2],
            object_type=["vm", "user"][n == 6],
            object_id=["7", "103"][n == 6],
            object_uuid=f"{UUID}{n % 5}",
            object_name=f"web-{n % 5}",
            segment_id=str(n % 2),
            segment_name=["Accounting", "lab"][n % 2],
            job_id=str(n // 2),
            request_id=f"request-{n // 3}",
            reason=HOSTILE,
        )
        event.save()
        made.append(event)
    return made


def found(auditor: Client, **query: Any) -> list[int]:
    """Ids of the events on the list, newest first."""
    return [event.pk for event in auditor.get(LIST, query).context["cl"].result_list]


def taken(auditor: Client, form: str, **query: Any) -> bytes:
    answer = auditor.get(f"{LIST}export/{form}/", query)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


# Finding

QUESTIONS: list[tuple[dict[str, str], set[int]]] = [
    ({"who": "Person 1"}, {1, 5, 9}),
    ({"action": "job.started"}, {1, 3, 5, 7, 9}),
    ({"outcome": "failed"}, {2, 5, 8}),
    ({"object_type": "user"}, {6}),
    ({"object_type": "vm", "object_id": "7"}, {0, 1, 2, 3, 4, 5, 7, 8, 9}),
    ({"object_name": "web-3"}, {3, 8}),
    ({"object_uuid": UUID + "2"}, {2, 7}),
    ({"segment": "lab"}, {1, 3, 5, 7, 9}),
    ({"segment_id": "0"}, {0, 2, 4, 6, 8}),
    ({"job_id": "3"}, {6, 7}),
    ({"request_id": "request-1"}, {3, 4, 5}),
    ({"via": "api", "outcome": "refused"}, {1, 7}),
    ({"who": "Person 1", "segment": "Accounting"}, set()),
    ({"person": "103"}, {3, 7, 4, 6}),
    ({"person": "103", "action": "vm.changed"}, {4, 6}),
    ({"q": "WEB-3"}, {3, 8}),
    ({"q": "person accounting"}, {0, 2, 4, 6, 8}),
    ({"q": '"Person 2" web-1'}, {6}),
    ({"q": "request-3"}, {9}),
    ({"q": UUID + "2"}, {2, 7}),
    ({"q": "web", "outcome": "failed", "via": "api"}, {5}),
    ({"q": "nobody"}, set()),
    ({"q": "%"}, set()),
]


@pytest.mark.parametrize(("query", "numbers"), QUESTIONS)
def test_each_question_finds_just_its_events_in_the_list_and_in_every_file(auditor, events, query, numbers):
    wanted = [event.pk for n, event in enumerate(events) if n in numbers]
    assert found(auditor, **query) == wanted[::-1]
    lines = [json.loads(line) for line in taken(auditor, "jsonl", **query).splitlines()]
    assert [record["event"]["id"] for record in lines[1:-1]] == wanted
    assert (lines[0]["coverage"], lines[0]["query"]) == ("selection", query)
    rows = list(csv.DictReader(io.StringIO(taken(auditor, "csv", **query).decode())))
    assert [int(row["id"]) for row in rows] == wanted
    page = taken(auditor, "html", **query).decode()
    assert page.count("<tr>") == len(wanted) + 1
    assert f"{len(wanted)}, the oldest first" in page


def test_common_words_are_found_by_reading_from_the_end(auditor, events, monkeypatch):
    monkeypatch.setattr(selectors.containing, "__defaults__", (2,))
    assert found(auditor, q="WEB") == [event.pk for event in events[::-1]]


def test_a_time_is_exact_even_where_ids_do_not_follow_it(auditor, events):
    late = AuditEvent(at=events[4].at, action="vm.changed", outcome="ok", actor_kind="user", via="web")
    late.save()
    since, until = (f"{events[n].at:%Y-%m-%d %H:%M:%S.%f}" for n in (3, 6))
    wanted = [late.pk, *(events[n].pk for n in (5, 4, 3))]
    assert found(auditor, since=since, until=until) == wanted
    assert found(auditor, since=since, until=until, action="vm.changed") == [late.pk, events[4].pk]
    assert found(auditor, since="2200-01-01") == []
    assert len(taken(auditor, "jsonl", since=since, until=until).splitlines()) == 2 + 4


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"action": "no.such"}, {"id": "x"}])
def test_a_question_that_makes_no_sense_is_answered_with_nothing_and_exports_nothing(auditor, events, query):
    answer = auditor.get(LIST, query)
    assert list(answer.context["cl"].result_list) == []
    assert "errorlist" in answer.content.decode()
    assert auditor.get(f"{LIST}export/csv/", query).status_code == 400


def test_conditions_that_would_read_the_whole_record_are_refused(auditor, events):
    for query in ({"detail__icontains": "x"}, {"at__gte": "2026-01-01"}, {"reason__regex": "(a+)+$"}):
        assert auditor.get(LIST, query).status_code == 400


def test_an_event_leads_to_the_timelines_of_what_it_names(auditor, events):
    text = auditor.get(f"{LIST}{events[4].pk}/change/").content.decode()
    for link, shown in (
        (f"?object_uuid={UUID}4", "vm web-4"),
        ("?person=100", "Person 0"),
        ("?person=103", "person 103"),
        ("?segment_id=0", "segment Accounting"),
        ("?job_id=2", "job 2"),
        ("?request_id=request-1", "request request-1"),
    ):
        assert f'href="{LIST}{link}">{shown}</a>' in text
        assert events[4].pk in [event.pk for event in auditor.get(LIST + link).context["cl"].result_list]


def test_a_persons_page_leads_to_everything_about_them(auditor):
    person = make.user("zoe")
    answer = auditor.get(f"/admin/access/user/{person.pk}/history/")
    assert answer["Location"] == f"{LIST}?person={person.pk}"


def test_nothing_is_counted_or_read_to_its_end(auditor, events):
    """Every statement on the events is bounded by a LIMIT or finds its rows by an index."""
    for query in ({}, *(query for query, _ in QUESTIONS)):
        with CaptureQueriesContext(
            connection,
        ) as statements:
            auditor.get(LIST, query)
        for statement in (s["sql"] for s in statements if "COUNT(*)" in s["sql"] and "auditevent" in s["sql"]):
            assert "LIMIT 100000" in statement, statement


INDEXED = [
    ({"who": "Person 1"}, "who"), ({"action": "job.started"}, "action"), ({"outcome": "failed"}, "outcome"),
    ({"object_type": "vm"}, "noun"), ({"object_type": "vm", "object_id": "7"}, "object"),
    ({"object_name": "web-1"}, "what"), ({"object_uuid": UUID + "1"}, "uuid"), ({"segment": "lab"}, "where"),
    ({"segment_id": "1"}, "segment"), ({"job_id": "3"}, "job"), ({"request_id": "request-1"}, "request"),
    ({"via": "api"}, "via"), ({"action": "vm.changed", "outcome": "refused"}, "outcome"),
    ({"action": "vm.changed", "outcome": "ok"}, "action"), ({"who": "Person 1", "segment": "lab", "via": "web"}, "who"),
    ({"job_id": "3", "since": "2020-01-01", "until": "2100-01-01"}, "job"),
]  # fmt: skip


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the table's statistics.")
@pytest.mark.parametrize(("query", "index"), INDEXED)
def test_a_question_reads_one_index_in_the_lists_order(auditor, events, query, index):
    plan = auditor.get(LIST, query).context["cl"].queryset[:50].explain()
    assert f"USING INDEX audit_event_{index} (" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_person_and_a_word_are_looked_up_by_their_indexes_alone(auditor, events):
    for query in ({"person": "103"}, {"q": "web-3"}, {"since": "2020-01-01"}):
        plan = auditor.get(LIST, query).context["cl"].queryset[:50].explain()
        assert "SCAN audit_auditevent" not in plan
        assert "SCAN U0" not in plan


# Files


def test_the_whole_record_is_exported_as_a_range_that_its_verifier_finds_whole(auditor, events):
    seal()
    content = taken(auditor, "jsonl")
    lines = [json.loads(line) for line in content.splitlines()]
    assert (lines[0]["coverage"], lines[0]["exported_by"]) == ("range", "auditor")
    assert clean(lines)["sealed"] == AuditEvent.objects.filter(pk__lte=events[-1].pk).count()
    clean([json.loads(line) for line in taken(auditor, "jsonl", who="Person 1").splitlines()], selection=True)


def test_an_export_is_recorded_with_who_what_and_how_many(auditor, events):
    answer = auditor.get(f"{LIST}export/csv/", {"who": "Person 1"}, headers={"X-Request-ID": "export-request"})
    intent = AuditEvent.objects.latest("id")
    assert (intent.action, intent.outcome) == (EventAction.AUDIT_EXPORTED, Outcome.INTENT)
    content = b"".join(answer.streaming_content)
    done = AuditEvent.objects.latest("id")
    assert (done.action, done.outcome) == (EventAction.AUDIT_EXPORTED, Outcome.OK)
    facts = {"format": "csv", "coverage": "selection", "query": {"who": "Person 1"}, "count": 3}
    assert done.detail == {**facts, "sha256": hashlib.sha256(content).hexdigest()}
    assert (done.actor_name, done.via, done.request_id) == ("auditor", "web", "export-request")
    assert done.source_address == "127.0.0.1"


def test_an_export_whose_reader_goes_away_is_recorded_as_that():
    answer = Download(told(iter([b"one", b"two", b"three"]), Tally(events=1), {"format": "csv"}))
    next(iter(answer))
    signals.request_finished.disconnect(close_old_connections)  # the test goes on with its connection
    try:
        answer.close()
    finally:
        signals.request_finished.connect(close_old_connections)
    assert AuditEvent.objects.latest("id").outcome == Outcome.FAILED


def test_under_asgi_pieces_are_made_one_at_a_time():
    made = []

    def pieces():
        for n in range(3):
            made.append(n)
            yield b"%d" % n

    async def read():
        answer = Download(pieces())
        seen = [(piece, len(made)) async for piece in answer]
        answer.close()
        return seen

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(read()) == [(b"0", 1), (b"1", 2), (b"2", 3)]


@pytest.mark.parametrize("form", FORMATS)
def test_the_number_of_statements_does_not_grow_with_the_events(auditor, events, form):
    def statements():
        with CaptureQueriesContext(connection) as captured:
            taken(auditor, form)
        return len(captured)

    before = statements()
    for _ in range(60):
        record_alone(EventAction.VM_CHANGED, actor=None)
    assert statements() == before


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_cell_is_a_formula(text):
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "web-1", "1-1", " =1", "a=b", "'=1"])
def test_other_cells_are_left_as_they_are(text):
    assert safe(text) == text


def test_a_table_holds_every_column_and_no_formula_whatever_the_record_holds(auditor):
    target = Target(type="vm", id="-1", uuid="@u", name="+1", segment_id="=1", segment_name="@SUM(A1)")
    with acting(actor_name="=HYPERLINK(1)", request_id="-5", actor_kind="user", actor_id="+3", via="web"):
        record_alone(EventAction.VM_CHANGED, target=target, reason="\t=1\nsecond, line", after={"=1": "=2"})
    (row,) = csv.DictReader(io.StringIO(taken(auditor, "csv", object_name="+1").decode(), newline=""))
    assert row["reason"] == "'\t=1\nsecond, line"
    assert row["actor_name"] == "'=HYPERLINK(1)"
    assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    columns = {field.column for field in AuditEvent._meta.concrete_fields} - {"version"}
    assert columns | {"seal_sequence", "seal_mac", "seal_key_id", "sealed_at"} == set(row)


def test_the_evidence_page_says_what_it_is_and_nothing_in_it_is_live(auditor, events):
    seal()
    answer = auditor.get(f"{LIST}export/html/", {"q": "web"})
    page = b"".join(answer.streaming_content).decode()
    for said in ("q = web", "by auditor", "10, the oldest first", "seal 10", "End of the evidence: 10 events."):
        assert said in page, said
    assert page.index("web-0") < page.index("web-4")
    assert "<script" not in page
    assert "&lt;script&gt;alert" in page
    assert "style-src 'self'" in answer["Content-Security-Policy"]
    assert "Content-Disposition" not in answer


# Who may


@pytest.mark.parametrize("slug", ["viewer", "operator", "maintainer", "owner", "platform-operator"])
def test_who_may_not_read_the_record_exports_nothing(client, events, slug):
    client.force_login(make.user_with(slug, username="curious"))
    for form in FORMATS:
        assert client.get(f"{LIST}export/{form}/").status_code == 403
    assert not AuditEvent.objects.filter(action=EventAction.AUDIT_EXPORTED).exists()


def test_to_read_is_not_to_export(client, events):
    client.force_login(make.user_with(make.role_of(Action.READ_AUDIT), username="reader"))
    answer = client.get(LIST)
    assert answer.status_code == 200
    assert "export/" not in answer.content.decode()
    for form in FORMATS:
        assert client.get(f"{LIST}export/{form}/").status_code == 403
    refusal = AuditEvent.objects.latest("id")
    assert (refusal.action, refusal.actor_name) == (EventAction.ACCESS_REFUSED, "reader")
    assert refusal.detail["action"] == Action.EXPORT
    assert not AuditEvent.objects.filter(action=EventAction.AUDIT_EXPORTED).exists()


def test_to_export_one_segment_is_not_to_export_the_record(client, events):
    person = make.user_with(make.role_of(Action.READ_AUDIT))
    make.grant(person, make.role_of(Action.EXPORT), make.segment())
    client.force_login(person)
    assert client.get(f"{LIST}export/csv/").status_code == 403


def test_who_is_not_signed_in_is_sent_to_sign_in(client, events):
    assert client.get(f"{LIST}export/csv/").status_code == 302


def test_an_auditor_sees_the_exports_with_the_lists_own_question(auditor, events):
    text = auditor.get(LIST, {"who": "Person 1"}).content.decode()
    for form in FORMATS:
        assert f'href="{LIST}export/{form}/?who=Person+1"' in text
    assert auditor.get(f"{LIST}export/xml/").status_code == 404


# Reading


def test_that_the_record_was_read_is_recorded(auditor, events):
    auditor.get(LIST, {"who": "Person 1", "p": "1", "segment": ""})
    read = AuditEvent.objects.latest("id")
    assert (read.action, read.actor_name, read.outcome) == (EventAction.AUDIT_READ, "auditor", Outcome.OK)
    assert read.detail == {"page": "list", "query": {"who": "Person 1", "p": "1"}}
    auditor.get(f"{LIST}{events[3].pk}/change/")
    read = AuditEvent.objects.latest("id")
    assert (read.action, read.object_type, read.object_id) == (EventAction.AUDIT_READ, "audit_event", str(events[3].pk))
    before = AuditEvent.objects.count()
    auditor.get(f"{LIST}99999999/change/")
    auditor.get("/admin/")
    assert AuditEvent.objects.count() == before


def test_a_reading_that_cannot_be_recorded_shows_nothing(auditor, events, monkeypatch):
    def refuse(*args, **facts):
        raise OSError("no space")

    monkeypatch.setattr("portal.admin.record.record_alone", refuse)
    for page in (LIST, f"{LIST}{events[0].pk}/change/"):
        with pytest.raises(OSError, match="no space"):
            auditor.get(page)


def test_a_time_reads_back_as_it_was_asked(auditor, events):
    asked = f"{events[3].at:%Y-%m-%d %H:%M:%S}"
    assert f'value="{asked}"' in auditor.get(LIST, {"since": asked}).content.decode()
    assert datetime.fromisoformat(asked)
