"""Verification against the anchors that a syslog kept: with prefixes, among other lines, and not to be fooled."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from audit import triggers
from audit.anchors import Anchor
from audit.chain import GENESIS
from audit.keys import SealKey
from audit.models import AuditEvent
from audit.verify import BreakKind, Report, verify
from tests.audit.helpers import anchors, execute, key, seal, write
from tests.audit.offline import check_files, run

pytestmark = pytest.mark.django_db

# What daemons make of one message: rsyslog's two forms, the journal, RFC 5424, raw.
PREFIXES = [
    "Jan 31 08:00:00 vault-7 slipway-anchor: ",
    "2026-01-31T08:00:00.123456+00:00 vault-7 slipway-anchor: ",
    "Jan 31 08:00:00 vault-7 slipway-anchor[77]: ",
    "<38>1 2026-01-31T08:00:00Z vault-7 slipway-anchor - - - ",
    "<38>slipway-anchor: ",
    '{not json} "seen" slipway-anchor: ',
]
OTHERS = ["Jan 31 08:00:01 vault-7 cron[5]: {}", "\ufffd", "Jan 31 08:00:01 vault-7 slipway-anchor: restarted", ""]


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A syslog that holds the anchors of seals 0, 2, 5 and 6, and the anchor file is gone."""
    for count in (0, 2, 3, 1):
        write(count)
        seal()
    file = anchors().path
    path = tmp_path / "messages"
    _put(path, [PREFIXES[0] + line for line in file.read_text().splitlines()])
    file.unlink()
    return path


def _put(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _offline(path: Path) -> tuple[str, int | None] | None:
    """Kind and place of the first break that the stand-alone verifier finds."""
    export = path.with_name("export.jsonl")
    export.unlink(missing_ok=True)
    call_command("audit_export", to=export, stdout=StringIO())
    found = check_files([export], anchors=False, syslog=[path])["first_break"]
    return (found["kind"], found["sequence"]) if found else None


def _break(report: Report) -> tuple[BreakKind, int | None]:
    assert report.first_break is not None
    return report.first_break.kind, report.first_break.sequence


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_prefix_does_not_matter(logged: Path, prefix: str) -> None:
    _put(logged, [line.replace(PREFIXES[0], prefix) for line in _lines(logged)])
    report = verify(syslog=[logged])
    assert (report.ok, report.sealed, report.remarks) == (True, 6, ())
    assert _offline(logged) is None


def test_without_the_syslog_the_record_is_not_whole(logged: Path) -> None:
    assert _break(verify())[0] is BreakKind.ANCHORS_MISSING


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [text for line in lines for text in (*OTHERS, line, "#015")],
        lambda lines: [*lines, *lines],
        lambda lines: lines[::-1],
        lambda lines: [*lines, lines[-1][:-30]],
        lambda lines: [line + " #000\r" for line in lines],
    ],
    ids=["among other lines", "twice", "in another order", "cut short", "with something behind"],
)
def test_what_a_syslog_does_to_lines_is_no_break(logged: Path, change: Callable[[list[str]], list[str]]) -> None:
    _put(logged, change(_lines(logged)))
    report = verify(syslog=[logged])
    assert (report.ok, report.remarks) == (True, ())
    assert _offline(logged) is None


def test_it_may_begin_later_and_be_rotated(logged: Path, tmp_path: Path) -> None:
    newest, older = tmp_path / "messages.0", tmp_path / "messages.1"
    _put(older, _lines(logged)[1:3])
    _put(newest, _lines(logged)[3:])
    report = verify(syslog=[newest, older])
    assert (report.ok, report.remarks) == (True, ())


def test_lines_that_are_lost_are_remarked_upon(logged: Path) -> None:
    lines = _lines(logged)
    _put(logged, [lines[0], lines[3]])
    report = verify(syslog=[logged])
    assert report.ok
    assert report.remarks == ("The syslog lacks anchors before one that it holds, at 1 places.",)


def test_no_anchor_at_all_is_found(logged: Path) -> None:
    _put(logged, OTHERS)
    assert _break(verify(syslog=[logged]))[0] is BreakKind.ANCHORS_MISSING
    found = _offline(logged)
    assert found is not None
    assert found[0] == "anchor_line"


# Tampering


def test_an_end_that_was_cut_off_is_found(logged: Path) -> None:
    with triggers.lifted():
        execute("DELETE FROM audit_auditseal WHERE sequence > 3")
        execute("DELETE FROM audit_auditevent WHERE id NOT IN (SELECT event_id FROM audit_auditseal)")
    assert _break(verify(syslog=[logged])) == (BreakKind.TRUNCATED, 4)
    export = logged.with_name("export.jsonl")
    call_command("audit_export", to=export, stdout=StringIO())
    assert check_files([export], anchors=False)["ok"]  # without anchors nobody can see it
    assert _offline(logged) == ("truncated", 4)


def test_a_record_made_anew_by_who_has_the_key_and_the_anchor_file_is_found(logged: Path) -> None:
    with triggers.lifted():
        execute("DELETE FROM audit_auditseal WHERE sequence > 3")
        execute("DELETE FROM audit_auditevent WHERE id NOT IN (SELECT event_id FROM audit_auditseal)")
    write(5)
    seal()
    assert _break(verify(syslog=[logged])) == (BreakKind.ANCHOR_DIFFERS, 5)
    assert _offline(logged) == ("anchor_differs", 5)


def test_an_altered_event_is_named_though_the_syslog_holds_rubbish(logged: Path) -> None:
    event = AuditEvent.objects.order_by("id")[3]
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET reason = 'x' WHERE id = %s", event.pk)
    _put(logged, [*_lines(logged), PREFIXES[0] + '{"sequence":9}'])
    assert _break(verify(syslog=[logged])) == (BreakKind.ALTERED, 4)
    assert _offline(logged) == ("altered", 4)


@pytest.mark.parametrize(
    ("field", "value"), [("sequence", 3), ("mac", "f" * 64), ("at", "2020-01-01T00:00:00.000000Z"), ("hmac", "f" * 64)]
)
def test_an_altered_line_is_rejected(logged: Path, field: str, value: object) -> None:
    lines = _lines(logged)
    fields = {**json.loads(lines[2][len(PREFIXES[0]) :]), field: value}
    lines[2] = PREFIXES[0] + json.dumps(fields)
    _put(logged, lines)
    report = verify(syslog=[logged])
    assert _break(report)[0] is BreakKind.ANCHOR_LINE
    assert report.first_break is not None
    assert report.first_break.sentence == "Line 3 of messages was altered, or was not written by the sealer."
    found = _offline(logged)
    assert found is not None
    assert found[0] == "anchor_line"


@pytest.mark.parametrize("claimed", [True, False], ids=["under the right key's id", "under its own"])
def test_who_lacks_the_key_cannot_add_a_line(logged: Path, claimed: bool) -> None:
    forger = SealKey(b"guess")
    forged = Anchor(9, "f" * 64, "2026-01-31T08:00:00.000000Z", 3, key().id if claimed else forger.id, GENESIS)
    _put(logged, [PREFIXES[0] + forged.line(forger).decode().rstrip("\n"), *_lines(logged)])
    assert _break(verify(syslog=[logged]))[0] is BreakKind.ANCHOR_LINE
    found = _offline(logged)
    assert found is not None
    assert found[0] == "anchor_line"


# The commands


def test_the_commands_take_several_files(logged: Path, tmp_path: Path) -> None:
    older, newest = tmp_path / "messages.1", tmp_path / "messages.0"
    _put(older, _lines(logged)[:2])
    _put(newest, _lines(logged)[2:])
    out = StringIO()
    call_command("audit_verify", "--no-record", "--syslog", str(older), "--syslog", str(newest), stdout=out)
    assert "The record is whole: 6 seals, and the anchors agree." in out.getvalue()
    with pytest.raises(CommandError, match="No such file"):
        call_command("audit_verify", "--no-record", "--syslog", str(tmp_path / "none"))
    export = tmp_path / "export.jsonl"
    call_command("audit_export", to=export, stdout=StringIO())
    options = ["--key", settings.SLIPWAY_SEAL_KEY_FILE, "--syslog", older, "--syslog", newest]
    done = run(export, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Checked: 4 anchors of its seals." in done.stdout
    assert run(export, "--syslog", tmp_path / "none").returncode == 2
