"""The sealed bytes: fixed for good, and the same from Python, from SQLite and from PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from audit import rows
from audit.canonical import EVENT_COLUMNS, Unreadable, event_bytes, instant, of_event
from audit.chain import GENESIS, seal_mac
from audit.context import acting
from audit.events import EventAction
from audit.keys import SealKey
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record
from tests.audit.helpers import seal, write
from tests.audit.test_values import ANYTHING

EVENT = AuditEvent(
    id=12,
    at=datetime(2026, 1, 31, 9, 0, 0, 120, tzinfo=timezone(timedelta(hours=1))),
    action="vm.changed",
    outcome="ok",
    actor_kind="user",
    actor_id="7",
    actor_name="Inès",
    via="web",
    object_type="vm",
    object_id="5",
    object_name='we"b',
    before={"b": 1, "a": [None, True]},
    reason="two\nlines",
)
# Written by hand, once. If this test fails, every record that exists would no longer verify.
BYTES = (
    rb'{"action":"vm.changed","actor_id":"7","actor_kind":"user","actor_name":"In\u00e8s","after":null,'
    rb'"at":"2026-01-31T08:00:00.000120Z","before":"{\"a\":[null,true],\"b\":1}","detail":null,"id":12,"job_id":"",'
    rb'"object_id":"5","object_name":"we\"b","object_type":"vm","object_uuid":"","on_behalf_of_id":"",'
    rb'"on_behalf_of_name":"","outcome":"ok","reason":"two\nlines","request_id":"","segment_id":"","segment_name":"",'
    rb'"source_address":"","token_id":"","version":1,"via":"web"}'
)


def test_the_form_does_not_change() -> None:
    assert of_event(EVENT) == BYTES
    assert json.dumps(json.loads(BYTES), sort_keys=True, separators=(",", ":")).encode() == BYTES


def test_every_column_is_covered() -> None:
    assert sorted(EVENT_COLUMNS) == sorted(field.column for field in AuditEvent._meta.concrete_fields)
    assert list(EVENT_COLUMNS) == sorted(EVENT_COLUMNS)


def test_the_code_is_plain_hmac_that_others_can_compute() -> None:
    secret = b"k" * 64
    at = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
    mac = seal_mac(SealKey(secret), sequence=1, event_id=12, previous_mac=GENESIS, sealed_at=at, event=BYTES)
    key_id = hashlib.sha256(b"slipway seal key\n" + secret).hexdigest()[:16]
    header = (
        f'slipway seal 1\n{{"event_id":12,"key_id":"{key_id}","previous_mac":"{"0" * 64}",'
        '"sealed_at":"2026-01-31T08:00:00.000000Z","sequence":1}\n'
    )
    assert mac == hmac.new(secret, header.encode() + BYTES, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("stored", "canonical"),
    [
        ("2026-01-31 08:00:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00:00.12", "2026-01-31T08:00:00.120000Z"),
        ("2026-01-31 08:00:00.000120", "2026-01-31T08:00:00.000120Z"),
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "2026-01-31T08:00:00.000000Z"),
    ],
)
def test_a_time_has_one_form(stored: object, canonical: str) -> None:
    assert instant(stored) == canonical


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "infinity",
        "2026-01-31",
        "2026-01-31T08:00:00",
        "2026-01-31 08:00:00+00",
        "2026-01-31 08:00:00.1234567",
        "10000-01-31 08:00:00",
        datetime(2026, 1, 31, 8),
        1769846400,
    ],
)
def test_a_time_that_slipway_does_not_write_is_not_read(stored: object) -> None:
    with pytest.raises(Unreadable):
        instant(stored)


@pytest.mark.parametrize(
    ("column", "value"), [("version", 2), ("actor_name", b"ines"), ("actor_name", None), ("id", "1")]
)
def test_a_value_of_the_wrong_kind_is_not_read(column: str, value: object) -> None:
    row: list[Any] = [getattr(EVENT, name) for name in EVENT_COLUMNS]
    row[EVENT_COLUMNS.index("before")] = None
    assert event_bytes(row)
    row[EVENT_COLUMNS.index(column)] = value
    with pytest.raises(Unreadable):
        event_bytes(row)


@pytest.mark.parametrize("character", [chr(number) for number in range(256)] + ["\u2028", "\ud800", "\U0001f512"])
def test_a_character_is_written_as_json_does_in_whichever_column(character: str) -> None:
    row: list[Any] = [getattr(EVENT, name) for name in EVENT_COLUMNS]
    row[EVENT_COLUMNS.index("before")] = None
    for column in ("action", "after", "object_name", "via"):
        changed = list(row)
        changed[EVENT_COLUMNS.index(column)] = f"a{character}b"
        shown = {**dict(zip(EVENT_COLUMNS, changed, strict=True)), "at": "2026-01-31T08:00:00.000120Z"}
        assert event_bytes(changed) == json.dumps(shown, separators=(",", ":")).encode()


@pytest.mark.django_db
@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(max_size=300), min_size=8, max_size=8),
    documents=st.lists(st.none() | st.dictionaries(st.text(), ANYTHING, max_size=4), min_size=3, max_size=3),
)
def test_what_is_read_back_gives_the_same_bytes(names: list[str], documents: list[dict[str, Any] | None]) -> None:
    circumstances = {"actor_name": names[0], "request_id": names[1], "source_address": names[2]}
    with transaction.atomic(), acting(**circumstances):
        event = record(
            EventAction.VM_CHANGED,
            target=Target("vm", names[3], names[4], names[5], names[6], names[6]),
            reason=names[7],
            before=documents[0],
            after=documents[1],
            detail=documents[2],
        )
    (row,) = rows.unsealed_among([event.pk])
    assert event_bytes(row) == of_event(event) == of_event(AuditEvent.objects.get(pk=event.pk))


@pytest.mark.django_db
def test_an_outsider_who_follows_the_documentation_comes_to_the_same_codes(audit_files: Path) -> None:
    """docs/audit.md, "The formats", with nothing but the standard library."""
    write(3)
    seal()
    secret = (audit_files / "keys" / "audit-seal.key").read_text().encode()
    key_id = hashlib.sha256(b"slipway seal key\n" + secret).hexdigest()[:16]
    anchor_before = before = "0" * 64
    heads = [before]
    for sequence, seal_row in enumerate(AuditSeal.objects.order_by("sequence").values(), start=1):
        event = AuditEvent.objects.values().get(pk=seal_row["event_id"])
        event["at"] = _in_utc(event["at"])
        for document in ("before", "after", "detail"):
            event[document] = None if event[document] is None else _dumps(event[document])
        header = {
            "event_id": event["id"],
            "key_id": key_id,
            "previous_mac": before,
            "sealed_at": _in_utc(seal_row["sealed_at"]),
            "sequence": sequence,
        }
        lines = "\n".join(["slipway seal 1", _dumps(header), _dumps(event)])
        before = hmac.new(secret, lines.encode(), "sha256").hexdigest()
        assert seal_row["mac"] == before
        heads.append(before)
    for line in (audit_files / "audit" / "anchors.jsonl").read_text().splitlines():
        fields = json.loads(line)
        assert _dumps(fields) == line
        code = fields.pop("hmac")
        assert code == hmac.new(secret, b"slipway anchor 1\n" + _dumps(fields).encode(), "sha256").hexdigest()
        assert (fields["mac"], fields["previous"]) == (heads[fields["sequence"]], anchor_before)
        anchor_before = code


def _dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _in_utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
