"""The anchor file: what breaks it, what a crash may leave in it, and what the verification says of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from audit import triggers
from audit.anchors import AnchorFile, BadLine
from audit.keys import KeyRing, SealKey
from audit.verify import BreakKind, verify
from tests.audit.helpers import anchors, execute, key, seal, whole, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def path() -> Path:
    """An anchor file of four lines: seals 0, 2, 5 and 6."""
    for count in (0, 2, 3, 1):
        write(count)
        seal()
    whole()
    return anchors().path


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _put(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines))


def test_a_line_says_where_the_chain_was(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in _lines(path)]
    assert [(line["sequence"], line["count"]) for line in lines] == [(0, 0), (2, 2), (5, 3), (6, 1)]
    assert [line["previous"] for line in lines[1:]] == [line["hmac"] for line in lines[:-1]]
    assert {line["key_id"] for line in lines} == {key().id}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 3),
        ("sequence", None),
        ("mac", "f" * 64),
        ("at", "2020-01-01T00:00:00.000000Z"),
        ("count", 9),
        ("key_id", "0" * 16),
        ("previous", "f" * 64),
        ("hmac", "f" * 64),
        ("hmac", 5),
        ("extra", 1),
    ],
)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_edited_line_is_found(path: Path, field: str, value: object, number: int) -> None:
    lines = _lines(path)
    lines[number] = json.dumps({**json.loads(lines[number]), field: value})
    _put(path, lines)
    report = verify()
    assert not report.ok
    assert not report.anchor_ok
    assert report.first_break is not None
    assert report.first_break.kind is BreakKind.ANCHOR_LINE
    assert f"Line {number + 1} " in report.first_break.sentence


SPOILED: list[tuple[str, Callable[[list[str]], list[str]], BreakKind]] = [
    ("first line removed", lambda lines: lines[1:], BreakKind.ANCHOR_LINE),
    ("middle line removed", lambda lines: [*lines[:1], *lines[2:]], BreakKind.ANCHOR_LINE),
    ("lines swapped", lambda lines: [lines[0], lines[2], lines[1], lines[3]], BreakKind.ANCHOR_LINE),
    ("line repeated", lambda lines: [*lines, lines[-1]], BreakKind.ANCHOR_LINE),
    ("rubbish at the end", lambda lines: [*lines, "{"], BreakKind.ANCHOR_LINE),
    ("line made rubbish", lambda lines: [lines[0], "rubbish", *lines[2:]], BreakKind.ANCHOR_LINE),
    ("no line left", lambda lines: [], BreakKind.ANCHORS_MISSING),
]


@pytest.mark.parametrize(("what", "spoil", "kind"), SPOILED, ids=[what for what, _, _ in SPOILED])
def test_missing_moved_and_foreign_lines_are_found(
    path: Path, what: str, spoil: Callable[[list[str]], list[str]], kind: BreakKind
) -> None:
    _put(path, spoil(_lines(path)))
    report = verify()
    assert report.first_break is not None
    assert report.first_break.kind is kind
    assert not report.anchor_ok


def test_a_missing_file_is_found_and_a_new_one_does_not_hide_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.unlink()
    report = verify()
    assert report.first_break is not None
    assert report.first_break.kind is BreakKind.ANCHORS_MISSING
    write(1)
    seal()
    assert "no anchor file" in caplog.text
    report = verify()
    assert report.first_break is not None
    assert "its first lines are missing" in report.first_break.sentence


def test_who_lacks_the_key_cannot_write_a_line(path: Path) -> None:
    forger = AnchorFile(path, KeyRing(SealKey(b"guess")))
    forger.append(sequence=7, mac="f" * 64)
    report = verify()
    assert report.first_break is not None
    assert "another key" in report.first_break.sentence


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_cut_short_by_a_crash_is_no_break_and_the_next_one_follows_it(path: Path, kept: int) -> None:
    content = path.read_bytes()
    last = content.rstrip(b"\n").rpartition(b"\n")[2] + b"\n"
    path.write_bytes(content[: -len(last)] + last[:kept])
    assert whole().head_sequence == 6
    write(1)
    seal()
    whole()
    write(1)
    seal()
    assert whole().head_sequence == 8


def test_a_line_being_written_during_a_verification_is_not_read(path: Path) -> None:
    file = anchors()
    size = file.size()
    with path.open("ab") as handle:
        handle.write(b"rubbish\n")
    assert [anchor.sequence for anchor in file.read(size)] == [0, 2, 5, 6]


def test_going_back_in_the_file_is_a_break(path: Path) -> None:
    with triggers.lifted():
        execute("DELETE FROM audit_auditseal WHERE sequence > 3")
        execute("DELETE FROM audit_auditevent WHERE id NOT IN (SELECT event_id FROM audit_auditseal)")
    report = verify()
    assert report.first_break is not None
    assert (report.first_break.kind, report.first_break.sequence) == (BreakKind.TRUNCATED, 4)
    assert seal() == 0  # the anchor file now goes back to seal 3
    write(5)
    assert seal() == 5  # the chain has seals 5 and 6 again, but other ones
    report = verify()
    assert report.first_break is not None
    assert (report.first_break.kind, report.first_break.sequence) == (BreakKind.ANCHOR_DIFFERS, 5)
    file = anchors()
    with pytest.raises(BadLine, match="cut back from seal 6 to seal 3"):
        list(file.read(file.size()))


def test_the_line_is_on_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_mode), fsync(descriptor))
    )
    AnchorFile(tmp_path / "new" / "anchors.jsonl", KeyRing(SealKey(b"k"))).append(sequence=0, mac="0" * 64)
    assert len(synced) == 2  # the file and its directory
