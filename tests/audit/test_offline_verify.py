"""The stand-alone verifier: the same verdict as Slipway's own, on the same data; and every altered export is found."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from audit import triggers
from audit.canonical import EVENT_COLUMNS, event_bytes
from audit.chain import seal_mac
from audit.export import ids_of, of_range, of_selection
from audit.keys import SealKey
from audit.models import AuditEvent, AuditSeal
from audit.verify import verify
from tests.audit import test_tampering as tampering
from tests.audit.helpers import execute, key, seal, write
from tests.audit.offline import SOURCE, broken, check, clean, exported, run, with_right_trailer

pytestmark = pytest.mark.django_db

LENGTH = tampering.LENGTH
FORGER = SealKey(b"a guess")
Lines = list[dict[str, Any]]


@pytest.fixture
def lines() -> Lines:
    """An export of a record of 12 events, anchored after the 4th, the 8th and the 12th."""
    for number in range(3):
        write(LENGTH // 3, name=["web-1", 'İnes\' 😀 \\ "VM"', "\u202e'; --"][number])
        seal()
    return exported()


# Alone


def test_it_needs_nothing_but_an_old_python() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 9))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    standard = {"__future__", "argparse", "collections.abc", "datetime", "hashlib", "hmac", "json", "sys", "typing"}
    assert imported <= standard


def test_as_a_command(tmp_path: Path, lines: Lines) -> None:
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"".join(of_range().chunks()))
    with_all = ["--key", settings.SLIPWAY_SEAL_KEY_FILE, "--anchors", settings.SLIPWAY_AUDIT_ANCHOR_FILE]
    done = run(whole, *with_all)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the codes of 12 seals, computed again from every column" in done.stdout
    assert "4 anchors" in done.stdout
    assert hashlib.sha256(whole.read_bytes()).hexdigest() in done.stdout
    without = run(whole)
    assert without.returncode == 0
    assert "NOT checked: ANY CODE: seals are HMACs, which have no public part" in without.stdout
    assert "NOT checked: anchors" in without.stdout
    altered = tmp_path / "altered.jsonl"
    altered.write_bytes(whole.read_bytes().replace(b'"reason":"reason 1"', b'"reason":"reason 7"'))
    done = run(altered, *with_all)
    assert done.returncode == 1
    assert "BROKEN: line 3: Event" in done.stdout
    assert json.loads(run(altered, *with_all, "--json").stdout)["first_break"]["sequence"] == 2


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe\n", b"id,at\n1,2\n", b"[" * 100_000])
def test_what_is_no_export_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    done = run(path)
    assert done.returncode == 2
    assert "can't be used" in done.stderr
    assert run(tmp_path / "nothing there").returncode == 2


def test_a_selection_is_not_taken_for_the_whole(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "selection.jsonl"
    lines[0]["coverage"] = "selection"
    path.write_text("".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines))
    assert run(path).returncode == 2
    assert "--selection" in run(path).stderr


# The same verdict as Slipway's own


@pytest.mark.parametrize("rounds", [150, pytest.param(5_000, marks=pytest.mark.long)])
def test_both_say_the_same_of_a_record_that_was_tampered_with(rounds: int, lines: Lines) -> None:
    rng = random.Random(rounds)
    with triggers.lifted():
        for number in range(rounds):
            savepoint = transaction.savepoint()
            rng.choice(tampering.ATTACKS)(rng)
            own, given_away = verify(), check(exported())
            assert own.first_break is not None
            found = given_away["first_break"]
            place = (own.first_break.kind.value, own.first_break.sequence)
            assert found is not None, f"round {number} of seed {rounds}: {place}"
            assert (found["kind"], found["sequence"]) == place, f"round {number} of seed {rounds}"
            transaction.savepoint_rollback(savepoint)
    assert verify().ok
    clean(exported())


def _put_in_behind() -> None:
    at = timezone.now() - timedelta(hours=1)
    facts = {"action": "vm.changed", "outcome": "ok", "actor_kind": "user", "via": "web"}
    AuditEvent(id=tampering._event_id(1) - 1, at=at, **facts).save()


def _fill_with(column: str, value: str) -> Callable[[], None]:
    def fill() -> None:
        execute(f"UPDATE audit_auditevent SET {column} = {value} WHERE id = %s", tampering._event_id(6))  # noqa: S608

    return fill


def _forge_at(sequence: int) -> Callable[[], None]:
    def forge() -> None:
        (event,) = write(1)
        mac = AuditSeal.objects.get(sequence=LENGTH).mac
        tampering._forge(sequence, event.pk, mac, key_id=key().id)

    return forge


def _put_old_copy_back() -> None:
    tampering._cut_off(7)
    write(9)
    seal()


SPOILT: list[Callable[[], None]] = [
    _put_in_behind,
    _put_old_copy_back,
    lambda: tampering._cut_off(0),
    lambda: tampering._delete(AuditSeal, "sequence > 8"),
    *(_fill_with("at", value) for value in tampering.OUTLANDISH[connection.vendor]),
    *(_fill_with(column, "NULL") for column in ("before", "detail")),
    _fill_with("version", "2"),
    *(_forge_at(sequence) for sequence in (-5, 0, LENGTH + 1, LENGTH + 50)),
]


@pytest.mark.parametrize("number", range(len(SPOILT)))
def test_both_say_the_same_of_what_chance_does_not_find(number: int, lines: Lines) -> None:
    with triggers.lifted():
        SPOILT[number]()
    own = verify().first_break
    assert own is not None
    found = check(exported())["first_break"]
    assert (found["kind"], found["sequence"]) == (own.kind.value, own.sequence)
    assert found["event_id"] == own.event_id


@pytest.mark.parametrize("rounds", [200, pytest.param(3_000, marks=pytest.mark.long)])
def test_no_false_alarm(rounds: int) -> None:
    rng = random.Random(rounds)
    times = []
    for _ in range(rounds):
        times.append(timezone.now())
        if rng.random() < 0.5:
            write(rng.randint(1, 3), name="".join(map(chr, rng.choices(range(0x20, 0x2FFF), k=8))))
        if rng.random() < 0.3:
            seal()
        since, until = (rng.choice([None, *times[-20:]]) for _ in range(2))
        clean(exported(of_range(since=since, until=until)), key=rng.random() < 0.8, anchors=rng.random() < 0.8)
    seal()
    assert verify().ok
    clean(exported())


# Tampering with the export


def _edit_event(lines: Lines, n: int, rng: random.Random) -> int:
    event = lines[n]["event"]
    column = rng.choice(EVENT_COLUMNS)
    event[column] = tampering._other(event[column])
    return n


def _edit_seal(lines: Lines, n: int, rng: random.Random) -> int:
    shown = lines[n]["seal"]
    column = rng.choice(sorted(shown))
    shown[column] = tampering._other(shown[column])
    return n


def _delete(lines: Lines, n: int, rng: random.Random) -> int:
    del lines[n]
    return n


def _insert(lines: Lines, n: int, rng: random.Random) -> int:
    lines.insert(n, copy.deepcopy(lines[rng.randint(1, LENGTH)]))
    # A copy before its original is right; what then stands behind it is one too many.
    return n + 1 if lines[n] == lines[n + 1] else n


def _swap(lines: Lines, n: int, rng: random.Random) -> int:
    other = rng.choice([m for m in range(1, LENGTH + 1) if m != n])
    lines[n], lines[other] = lines[other], lines[n]
    return min(n, other)


def _swap_contents(lines: Lines, n: int, rng: random.Random) -> int:
    other = rng.choice([m for m in range(1, LENGTH + 1) if m != n])
    lines[n]["event"], lines[other]["event"] = lines[other]["event"], lines[n]["event"]
    return min(n, other)


def _cut_off(lines: Lines, n: int, rng: random.Random) -> int:
    """As if the record had ended before: header and trailer say so too."""
    del lines[n:-1]
    before = lines[n - 1]["seal"] if n > 1 else {"sequence": 0, "mac": "0" * 64}
    ends = (1, n - 1) if n > 1 else (None, None)
    lines[0]["head"] = {"sequence": before["sequence"], "mac": before["mac"]}
    lines[0]["first_sequence"], lines[0]["last_sequence"] = ends
    lines[0]["previous_mac"] = "0" * 64 if n > 1 else None
    return n


def _reseal(lines: Lines, n: int, rng: random.Random) -> int:
    """From there on made anew, with another key; who does it may name the right one."""
    named = rng.choice([FORGER.id, key().id])
    mac = lines[n]["seal"]["previous_mac"]
    for record in lines[n:-1]:
        record["event"]["actor_name"] = "nobody"
        row = [record["event"][name] for name in EVENT_COLUMNS]
        row[EVENT_COLUMNS.index("at")] = row[EVENT_COLUMNS.index("at")].replace("T", " ").rstrip("Z")
        shown = record["seal"]
        shown |= {"previous_mac": mac, "key_id": named}
        when = shown["sealed_at"].replace("T", " ").rstrip("Z")
        facts = {"sequence": shown["sequence"], "event_id": shown["event_id"], "previous_mac": mac}
        shown["mac"] = mac = seal_mac(FORGER, **facts, sealed_at=when, event=event_bytes(row))
    lines[0]["head"]["mac"] = mac
    return n


def _drop_column(lines: Lines, n: int, rng: random.Random) -> int:
    part = rng.choice(["event", "seal"])
    del lines[n][part][rng.choice(sorted(lines[n][part]))]
    return n


def _add_column(lines: Lines, n: int, rng: random.Random) -> int:
    lines[n][rng.choice(["event", "seal"])]["note"] = "approved by the board"
    return n


Attack = Callable[[Lines, int, random.Random], int]
ATTACKS: list[Attack] = [
    _edit_event, _edit_event, _edit_seal, _delete, _insert, _swap, _swap_contents, _cut_off, _reseal, _drop_column,
    _add_column,
]  # fmt: skip


@pytest.mark.parametrize("rounds", [400, pytest.param(20_000, marks=pytest.mark.long)])
def test_random_tampering_with_an_export_is_always_found_and_its_place_named(rounds: int, lines: Lines) -> None:
    rng = random.Random(rounds)
    for number in range(rounds):
        altered = copy.deepcopy(lines)
        attack = rng.choice(ATTACKS)
        place = attack(altered, rng.randint(1, LENGTH), rng)
        # The counts and the digest help nobody who checks with the key and the anchors.
        altered = with_right_trailer(altered) if rng.random() < 0.7 else altered
        found = check(altered)["first_break"]
        assert found is not None, f"{attack.__name__}, round {number} of seed {rounds}"
        assert found["sequence"] == place, f"{attack.__name__}, round {number} of seed {rounds}: {found}"


@pytest.mark.parametrize("column", EVENT_COLUMNS)
def test_every_edited_column_is_found(column: str, lines: Lines) -> None:
    lines[7]["event"][column] = tampering._other(lines[7]["event"][column])
    assert broken(with_right_trailer(lines)) == ("altered", 7)


@pytest.mark.parametrize("keep", [1, 2, 7, LENGTH + 1])
def test_lines_missing_at_the_end_are_found_without_key_and_anchors(keep: int, lines: Lines) -> None:
    place = keep if keep <= LENGTH else None
    assert broken(lines[:keep], key=False, anchors=False) == ("truncated", place)
    raw = b"".join(of_range().chunks()).splitlines(keepends=True)
    assert broken([*raw[:keep], raw[keep][:40]], key=False, anchors=False)[0] in ("line", "truncated")


@pytest.mark.parametrize("attack", [_delete, _insert, _swap])
def test_without_the_key_links_and_numbers_are_still_checked(attack: Attack, lines: Lines) -> None:
    for n in range(1, LENGTH + 1):
        altered = copy.deepcopy(lines)
        place = attack(altered, n, random.Random(n))
        assert broken(with_right_trailer(altered), key=False)[1] == place


def test_without_the_key_only_the_digest_speaks_of_an_edit_and_that_is_said(lines: Lines) -> None:
    lines[5]["event"]["actor_name"] = "nobody"
    assert broken(lines, key=False) == ("digest", None)
    report = clean(with_right_trailer(lines), key=False)
    assert report["not_checked"][0].startswith("ANY CODE")
    assert broken(with_right_trailer(lines)) == ("altered", 5)


def test_a_suffix_made_anew_shows_by_the_anchors_even_without_the_key(lines: Lines) -> None:
    _reseal(lines, 6, random.Random(1))
    lines = with_right_trailer(lines)
    assert broken(lines, key=False) == ("anchor_differs", 8)
    assert clean(lines, key=False, anchors=False)


def test_the_same_column_twice_is_found(lines: Lines) -> None:
    raw = b"".join(of_range().chunks()).splitlines(keepends=True)
    raw[4] = raw[4].replace(b'{"event":{"action":', b'{"event":{"action":"vm.shown","action":')
    assert broken(raw) == ("line", 4)


@pytest.mark.parametrize("rounds", [150, pytest.param(5_000, marks=pytest.mark.long)])
def test_random_tampering_with_a_selection_is_found_but_for_what_was_left_out(rounds: int, lines: Lines) -> None:
    rng = random.Random(rounds)
    ids = ids_of(AuditEvent.objects.filter(pk__in=[tampering._event_id(n) for n in (1, 2, 4, 5, 6, 9, 12)]))
    chosen = exported(of_selection(ids, {"who": "ines"}))
    clean(chosen, selection=True)
    attacks = [_edit_event, _edit_seal, _swap_two, _repeat, _drop_column, _add_column]
    for number in range(rounds):
        altered = copy.deepcopy(chosen)
        attack = rng.choice(attacks)
        attack(altered, rng.randint(1, len(ids)), rng)
        assert check(with_right_trailer(altered), selection=True)["first_break"], f"{attack.__name__}, round {number}"
    del chosen[3]
    assert broken(chosen, selection=True)[0] == "trailer"
    # Nobody can see this from the file; that it was not checked is said.
    assert "whether events were left out" in str(clean(with_right_trailer(chosen), selection=True)["not_checked"])


def _swap_two(lines: Lines, n: int, rng: random.Random) -> int:
    other = rng.choice([m for m in range(1, len(lines) - 1) if m != n])
    lines[n], lines[other] = lines[other], lines[n]
    return min(n, other)


def _repeat(lines: Lines, n: int, rng: random.Random) -> int:
    lines.insert(rng.randint(1, len(lines) - 1), copy.deepcopy(lines[n]))
    return n


def test_every_line_of_the_anchor_file_counts(lines: Lines) -> None:
    path = Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE)
    right = path.read_bytes().splitlines(keepends=True)
    for n in range(len(right)):
        path.write_bytes(b"".join(right[:n] + right[n + 1 :]))
        if n < len(right) - 1:  # without its last line it is what it was a minute ago
            assert broken(lines)[0] == "anchor_line"
        path.write_bytes(b"".join([*right[:n], right[n].replace(b'"count":', b'"count":1'), *right[n + 1 :]]))
        assert broken(lines)[0] == "anchor_line"
    path.write_bytes(b"".join(right) + b'{"at": "20')
    clean(lines)


def test_anchors_made_after_the_export_are_no_alarm(lines: Lines) -> None:
    write(3)
    seal()
    clean(lines)
