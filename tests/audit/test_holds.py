"""What a hold covers stays in the record, and so does what follows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from access import record_holds
from access.errors import InvalidAccessRequest, NotAllowed
from audit import archiving, removal, triggers
from audit.context import acting
from audit.events import EventAction
from audit.holds import Cover, NoSuchHold, first_held, hold_lift, hold_place, standing_holds
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record_alone
from tests import factories as make
from tests.audit.archived import archive, archive_file, long_ago, old_and_new, old_events
from tests.audit.helpers import execute, seal, whole, write
from tests.pages.conftest import browser

pytestmark = pytest.mark.django_db


def test_a_hold_keeps_what_it_covers_and_what_follows() -> None:
    old_events(2)
    old_events(2, name="evidence")
    old_events(2)
    hold = hold_place(name="Case 7", reason="court order", cover=Cover(object="evidence"))
    with pytest.raises(CommandError, match=r"Case 7") as error:
        archive()
    assert "stays in the record" in str(error.value)
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]
    with pytest.raises(CommandError, match=r"nothing to archive: hold .*Case 7.* covers seal 3"):
        archive("archive-2.jsonl")
    hold_lift(hold.id, reason="settled")
    archive("archive-2.jsonl")
    assert AuditSeal.objects.order_by("sequence").first().sequence == 7  # type: ignore[union-attr]
    seal()
    assert whole().archived[-1].archives == 2


def test_a_hold_placed_after_the_statement_still_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 2)
    old_events(3)
    old_events(1, name="evidence")
    old_events(2)
    original = archiving.remove

    def place_first(*arguments: Any, **named: Any) -> Any:
        hold_place(name="Late", reason="x", cover=Cover(object="evidence"))
        return original(*arguments, **named)

    monkeypatch.setattr(archiving, "remove", place_first)
    with pytest.raises(CommandError, match="Late"):
        archive()
    assert list(AuditSeal.objects.filter(sequence__lte=6).values_list("sequence", flat=True)) == [4, 5, 6]
    trimmed = AuditEvent.objects.get(action="audit.trimmed")
    assert trimmed.detail["seals"] == 3
    assert trimmed.detail["stopped_by_hold"]
    seal()
    assert "Seals 4 to 6 are archived, but still in the record" in whole().remarks[-1]


def test_a_hold_on_everything_lets_nothing_go() -> None:
    old_and_new()
    hold_place(name="All", reason="x", cover=Cover())
    with pytest.raises(CommandError, match="All"):
        archive()
    assert AuditSeal.objects.count() == 10
    assert not archive_file().exists()


def test_a_holds_own_event_stays_while_it_stands() -> None:
    with long_ago():
        write(2)
        hold_place(name="Old", reason="x", cover=Cover(person="nobody at all"))
        write(2)
        seal()
    with pytest.raises(CommandError, match="Old"):
        archive()
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]


# What is covered


def _covered(cover: Cover) -> set[str]:
    return set(AuditEvent.objects.filter(cover.condition()).values_list("object_name", flat=True))


def test_what_a_cover_covers() -> None:
    old_events(1, name="old")
    write(1, name="web-1")
    with acting(actor_id="9", actor_name="eve", actor_kind="user"):
        record_alone(EventAction.VM_CHANGED, target=Target("vm", "77", name="hers"))
        record_alone(EventAction.USER_CHANGED, target=Target("user", "7", name="ines"))
    year = timezone.now() - timedelta(days=365)
    both = {"old", "web-1"}
    assert _covered(Cover()) == {"old", "web-1", "hers", "ines"}
    assert _covered(Cover(until=year)) == {"old"}
    assert _covered(Cover(since=year)) == {"web-1", "hers", "ines"}
    assert _covered(Cover(person="ines")) == _covered(Cover(person="7")) == both | {"ines"}
    assert _covered(Cover(person="omar")) == _covered(Cover(person="8")) == both
    assert _covered(Cover(object="6f0e5f0e-0000-4000-8000-000000000005")) == both
    assert _covered(Cover(object="77")) == _covered(Cover(object="hers")) == {"hers"}
    assert _covered(Cover(segment="accounting")) == _covered(Cover(segment="2")) == both
    assert _covered(Cover(person="ines", since=year)) == {"web-1", "ines"}
    assert _covered(Cover(person="ines", object="hers")) == set()


def test_a_hold_is_read_back_as_it_was_placed_and_is_gone_when_lifted() -> None:
    at = timezone.now()
    cover = Cover(since=at, until=at + timedelta(days=1), person="ines", object="web-1", segment="accounting")
    first = hold_place(name="Case 7", reason="court", cover=cover)
    second = hold_place(name="Case 8", reason="court", cover=Cover())
    assert standing_holds() == [first, second]
    assert first.cover == cover
    hold_lift(first.id, reason="settled")
    assert standing_holds() == [second]
    with pytest.raises(NoSuchHold):
        hold_lift(first.id, reason="again")
    lifted = AuditEvent.objects.get(action="hold.lifted")
    assert (lifted.object_id, lifted.object_name, lifted.reason) == (str(first.id), "Case 7", "settled")


@pytest.mark.parametrize("after", [None, '"x"', "[]", "{}", '{"since":"never"}', '{"person":null}'])
def test_a_hold_that_cannot_be_read_holds_everything(after: str | None) -> None:
    old_and_new()
    hold_place(name="Spoiled", reason="x", cover=Cover(person="nobody at all"))
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET after = %s WHERE action = 'hold.placed'", after)
    assert first_held(1, 6) == (1, standing_holds()[0])


# Who may


def test_who_reads_the_record_and_exports_may_hold_and_nobody_else() -> None:
    auditor, operator = make.user_with("auditor"), make.user_with("platform-operator")
    placed = record_holds.hold_place(actor=auditor, name="Case 7", reason="court", cover=Cover())
    event = AuditEvent.objects.get(pk=placed.id)
    assert (event.actor_id, event.reason) == (str(auditor.pk), "court")
    for refused in (operator, make.user("stranger")):
        with pytest.raises(NotAllowed):
            record_holds.hold_place(actor=refused, name="x", reason="x", cover=Cover())
        with pytest.raises(NotAllowed):
            record_holds.hold_lift(actor=refused, hold_id=placed.id, reason="x")
    assert standing_holds() == [placed]
    record_holds.hold_lift(actor=auditor, hold_id=placed.id, reason="settled")
    assert standing_holds() == []


def test_a_hold_without_name_reason_or_sense_is_refused() -> None:
    auditor = make.user_with("auditor")
    now = timezone.now()
    for wrong in ({"name": " "}, {"reason": " "}, {"cover": Cover(since=now, until=now)}):
        with pytest.raises(InvalidAccessRequest):
            record_holds.hold_place(actor=auditor, **{"name": "x", "reason": "x", "cover": Cover(), **wrong})
    assert standing_holds() == []


def test_from_the_command_line() -> None:
    def run(*arguments: str) -> str:
        with StringIO() as out:
            call_command("audit_hold", *arguments, stdout=out)
            return out.getvalue()

    for nothing in (["place", "x", "--reason", "x"], ["place", "x", "--reason", "x", "--everything", "--person", "y"]):
        with pytest.raises(CommandError, match="Say what is held"):
            run(*nothing)
    out = run("place", "Case 7", "--reason", "court", "--person", "ines", "--since", "2026-01-31")
    (hold,) = standing_holds()
    assert hold.cover == Cover(since=datetime(2026, 1, 31, tzinfo=UTC), person="ines")
    assert f"Placed hold {hold.id}, 'Case 7' (from 2026-01-31 00:00, person ines)." in out
    assert "(command line)" in AuditEvent.objects.get(pk=hold.id).actor_name
    assert f"hold {hold.id}, 'Case 7'" in run("list")
    run("lift", str(hold.id), "--reason", "settled")
    assert run("list") == ""
    with pytest.raises(CommandError, match="no hold"):
        run("lift", str(hold.id), "--reason", "again")


def test_on_the_page() -> None:
    auditor = make.user_with("auditor", username="vera")
    client = browser(auditor)
    page = reverse("hold-place")
    for wrong in ({}, {"everything": "on", "person": "ines"}):
        answer = client.post(page, {"name": "Case 7", "reason": "court", **wrong})
        assert answer.status_code == 400
        assert "Say what is held" in answer.content.decode()
    answer = client.post(page, {"name": "Case 7", "reason": "court", "object": "web-1"})
    assert (answer.status_code, answer["Location"]) == (302, reverse("holds"))
    (hold,) = standing_holds()
    shown = client.get(reverse("holds")).content.decode()
    assert "Case 7" in shown
    assert "object web-1" in shown
    assert "placed by vera" in shown
    lift = reverse("hold-lift", args=[hold.id])
    assert client.post(lift, {"reason": ""}).status_code == 400
    assert client.post(lift, {"reason": "settled"}).status_code == 302
    assert client.get(lift).status_code == 404
    assert "Nothing is held" in client.get(reverse("holds")).content.decode()


def test_that_the_page_was_read_is_recorded() -> None:
    assert browser(make.user_with("auditor", username="vera")).get(reverse("holds")).status_code == 200
    (read,) = AuditEvent.objects.filter(action=EventAction.AUDIT_READ)
    assert (read.actor_name, read.detail) == ("vera", {"page": "holds"})
    assert browser(make.user_with("viewer")).get(reverse("holds")).status_code == 403
    assert AuditEvent.objects.filter(action=EventAction.AUDIT_READ).count() == 1


def test_the_page_tells_of_archives() -> None:
    old_and_new()
    archive()
    client = browser(make.user_with("auditor", username="vera"))
    assert "Seals 1 to 6 into" in client.get(reverse("holds")).content.decode()
