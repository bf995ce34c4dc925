"""What a hold covers stays in the record, and so does what follows it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError

from audit import archiving, removal
from audit.holds import Cover, hold_lift, hold_place
from audit.models import AuditEvent, AuditSeal
from tests.audit.archived import (
    archive,
    archive_file,
    long_ago,
    old_and_new,
    old_events,
)
from tests.audit.helpers import seal, whole, write

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
