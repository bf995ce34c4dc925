#!/usr/bin/env python3
"""Check an export of Slipway's audit record without Slipway: one file, Python 3.9 or newer, nothing to install.

    python3 slipway_audit_verify.py EXPORT.jsonl [--key KEYFILE] [--anchors ANCHORFILE] [--selection] [--json]
    python3 slipway_audit_verify.py EXPORT.jsonl [--key KEYFILE] --syslog FILE     # anchors as a syslog kept them

Several files, oldest first (archives, then an export of what is left), are checked as one chain. A record that was
sealed with several keys, one after the other, needs all of them: --key KEYFILE --key KEYFILE ...

With the key, every code is computed again from every column that the export shows. The codes are HMACs, which have no
public part: without the key only the links, the numbers and the anchors can be compared, and the output says so.

Exit status: 0 whole, 1 broken (the first bad record is named), 2 the input can't be used.
"""

# ruff: noqa: SIM905 (columns as words)
# Written from the description of the formats in docs/audit.md; shares no code with Slipway, on purpose.

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, BinaryIO, NoReturn

Fields = dict[str, Any]

FORMAT = "slipway audit export 1"
ZEROS = "0" * 64
UNSEALED_GRACE = timedelta(seconds=60)
EVENT = set(
    "action actor_id actor_kind actor_name after at before detail id job_id object_id object_name object_type "
    "object_uuid on_behalf_of_id on_behalf_of_name outcome reason request_id segment_id segment_name source_address "
    "token_id version via".split()
)
SEAL = {"event_id", "key_id", "mac", "previous_mac", "sealed_at", "sequence"}
NULLABLE = {"after", "before", "detail"}
NUMBERS = {"count", "event_id", "id", "sequence", "version"}
FACTS = "coverage exported_at exported_by first_sequence format head kind last_sequence previous_mac query".split()
TAG = "slipway-anchor"
ANCHOR = {"at", "count", "hmac", "key_id", "mac", "previous", "sequence"}


class Broken(Exception):
    """The first bad place. `kind` is one of those of docs/audit.md, or `line`, `trailer`, `digest` for the file."""

    def __init__(self, kind: str, sentence: str, sequence: int | None = None, event_id: int | None = None) -> None:
        super().__init__(sentence)
        self.kind, self.sequence, self.event_id = kind, sequence, event_id


class Unusable(Exception):
    """Nothing can be said of this input."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no blanks, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


class Key:
    """The seal key."""

    def __init__(self, secret: bytes) -> None:
        self.id = hashlib.sha256(b"slipway seal key\n" + secret).hexdigest()[:16]
        self._prepared = hmac.new(secret, digestmod="sha256")

    def code(self, message: bytes) -> str:
        """HMAC-SHA256, in hex."""
        fresh = self._prepared.copy()
        fresh.update(message)
        return fresh.hexdigest()

    def of_seal(self, seal: Fields, event: Fields) -> str:
        """What the code of a seal must be."""
        header = {name: value for name, value in seal.items() if name != "mac"}
        return self.code(b"slipway seal 1\n" + canonical(header) + b"\n" + canonical(event))


Keys = dict[str, Key]


class Lines:
    """The lines of the export, each an object in the canonical form; a digest of all before the trailer."""

    def __init__(self, handle: BinaryIO) -> None:
        self.number = 0
        self.whole = hashlib.sha256()
        self.body = hashlib.sha256()
        self._handle = handle

    def __iter__(self) -> Iterator[Fields]:
        for raw in self._handle:
            self.number += 1
            self.whole.update(raw)
            fields = parsed(raw)
            if fields is None or canonical(fields) + b"\n" != raw:
                raise Broken("line", f"Line {self.number} is not one that Slipway wrote.")
            if fields.get("kind") != "trailer":
                self.body.update(raw)
            yield fields


def parsed(raw: bytes) -> Fields | None:
    """A line's object, or None."""
    try:
        fields = json.loads(raw)
        return fields if isinstance(fields, dict) else None
    except (ValueError, RecursionError):
        return None


def well_formed(fields: Any, names: set[str]) -> bool:
    """Whether an object has just these columns, each of its kind."""
    if not isinstance(fields, dict) or set(fields) != names:
        return False
    return all(
        type(value) is int if name in NUMBERS else isinstance(value, str) or (value is None and name in NULLABLE)
        for name, value in fields.items()
    )


class Anchors:
    """The anchors by seal, and after which seal each key took over: `(sequence, key_id)` in the order of the keys."""

    def __init__(self) -> None:
        self.by_seal: dict[int, Fields] = {}
        self.keys: list[tuple[int, str]] = []
        self.missing = 0  # places where a syslog lacks the anchor that another one names as the one before

    def add(self, anchor: Fields, what: str) -> None:
        """The next one in the order of the seals. Raises Broken."""
        sequence, key_id = anchor["sequence"], anchor["key_id"]
        if not self.keys or key_id != self.keys[-1][1]:
            if key_id in [name for _, name in self.keys]:
                raise Broken("anchor_line", f"{what} has a key that had been replaced.")
            self.keys.append((sequence, key_id))
        if self.by_seal.setdefault(sequence, anchor)["mac"] != anchor["mac"]:
            raise Broken("anchor_differs", "Two anchors give one seal two codes.", sequence)

    def replaced(self, key_id: str, sequence: int) -> bool:
        """Whether this key had been replaced before this seal was made."""
        order = [name for _, name in self.keys]
        later = self.keys[order.index(key_id) + 1 :] if key_id in order else []
        return bool(later) and sequence > later[0][0]


def read_anchors(path: str, keys: Keys | None, found: Anchors) -> None:
    """Fill `found`; each is checked in itself (with the keys) and against the one before. Raises Broken."""
    before: Fields | None = None
    garbled = 0
    with open(path, "rb") as handle:
        for number, raw in enumerate(handle, start=1):
            if not raw.endswith(b"\n"):
                break  # cut short by a crash, or still being written
            anchor = parsed(raw)
            if anchor is None:
                garbled = number  # harmless if the next line follows the one before it
                continue
            line = f"Line {number} of the anchor file"
            check_anchor(anchor, line, keys)
            check_place(anchor, before, line)
            before, garbled = anchor, 0
            found.add(anchor, line)
    if garbled or before is None:
        raise Broken("anchor_line", f"Line {garbled} of the anchor file can't be read, or the file is empty.")


def check_anchor(anchor: Fields, line: str, keys: Keys | None) -> None:
    """Raise Broken unless this anchor is right in itself."""
    if not well_formed(anchor, ANCHOR):
        raise Broken("anchor_line", f"{line} can't be read.")
    if keys is not None:
        covered = {name: value for name, value in anchor.items() if name != "hmac"}
        key = keys.get(anchor["key_id"])
        if key is None:
            raise Broken("anchor_line", f"{line} was written with another key ({anchor['key_id']!a}) than those given.")
        if not hmac.compare_digest(anchor["hmac"], key.code(b"slipway anchor 1\n" + canonical(covered))):
            raise Broken("anchor_line", f"{line} was altered, or was not written by the sealer.")


def check_place(anchor: Fields, before: Fields | None, line: str) -> None:
    """Raise Broken unless this line of the anchor file is in its place."""
    if anchor["previous"] != (before["hmac"] if before else ZEROS):
        raise Broken("anchor_line", f"{line} does not follow the line before: lines are missing or moved.")
    if before is None and anchor["sequence"] != 0:
        raise Broken("anchor_line", "The first lines of the anchor file are missing.")
    if before is not None and anchor["sequence"] < before["sequence"]:
        raise Broken("anchor_line", f"{line}: the record was cut back before {anchor['at']}.")


def read_syslog(paths: list[str], keys: Keys | None, found: Anchors) -> None:
    """Fill `found` with anchors among other lines. Each stands for itself: a syslog repeats, moves and loses lines.

    Raises Broken for one that is not right, when all others are in `found`.
    """
    lines: dict[bytes, Fields] = {}
    error: Broken | None = None
    for path in paths:
        with open(path, "rb") as handle:
            for number, raw in enumerate(handle, start=1):
                anchor = tagged(raw)
                if anchor is None:
                    continue
                try:
                    check_anchor(anchor, f"Line {number} of {path}", keys)
                    lines.setdefault(canonical(anchor), anchor)
                except Broken as broken:
                    error = error or broken
    codes = {anchor["hmac"] for anchor in lines.values()}
    found.missing = max(0, sum(anchor["previous"] not in codes for anchor in lines.values()) - 1)
    for anchor in sorted(lines.values(), key=lambda anchor: (anchor["sequence"], anchor["at"])):
        found.add(anchor, f"The anchor of {anchor['at']} in the syslog")
    if error is not None:
        raise error
    if not lines:
        raise Broken("anchor_line", "The syslog holds no anchor.")


def tagged(raw: bytes) -> Fields | None:
    """The object behind the tag, whatever a syslog put before and behind it; None for what says nothing."""
    _, tag, rest = raw.decode("utf-8", "replace").partition(TAG)
    try:
        fields, _ = json.JSONDecoder().raw_decode(rest, max(0, rest.find("{"))) if tag else (None, 0)
        return fields if isinstance(fields, dict) else None
    except (ValueError, RecursionError):
        return None


class Check:
    """One walk along an export."""

    def __init__(self, header: Fields, keys: Keys | None, anchors: Anchors, before: Check | None = None) -> None:
        self.header, self.keys, self.anchors = header, keys, anchors
        self.before = before  # the file that this one goes on from
        self.selection = header["coverage"] == "selection"
        self.sealed = self.unsealed = self.gaps = self.compared = 0
        empty = header["first_sequence"] is None and header["head"]["sequence"] == 0
        #: The number that the next seal must have (in a selection: would have, if it followed), and the code before it.
        self.next: int | None = 1 if empty else header["first_sequence"]
        self.mac: str | None = ZEROS if empty else header["previous_mac"]
        self._last_event = self._highest = -(2**63)
        self._sealed_at = ""
        self._key_id = ""
        self._replaced: set[str] = set()
        if before is not None:
            self._key_id, self._replaced = before._key_id, before._replaced
            self._highest, self._sealed_at = before._highest, before._sealed_at

    def start(self) -> None:
        """What the header must be. Raises Broken."""
        head = self.header["head"]
        if self.before is not None:
            self._go_on(self.before)
        if self.next is not None:
            if self.mac is None or (self.next == 1 and self.mac != ZEROS):
                raise Broken("seal_missing", f"Seal {self.next - 1}, before the first here, is missing.", self.next - 1)
            self._compare(self.next - 1, self.mac)
        anchors, at = self.anchors.by_seal, self.header["exported_at"]
        later = [number for number, anchor in anchors.items() if number > head["sequence"] and anchor["at"] <= at]
        self._cut_off = anchors[min(later)] if later else None

    def _go_on(self, before: Check) -> None:
        first, expected = self.header["first_sequence"], before.next
        if first is None or expected is None or first > expected:
            raise Broken("seal_missing", f"Seal {expected} is missing: this file begins at seal {first}.", expected)
        if first < expected:
            raise Broken("seal_missing", f"Seal {first} stands in the file before, too: give each seal once.", first)
        if self.mac != before.mac:
            raise Broken("link", f"Seal {first} does not follow the last one of the file before.", first)

    def _compare(self, sequence: int, mac: str) -> None:
        anchor = self.anchors.by_seal.get(sequence)
        if anchor is not None and anchor["mac"] != mac:
            raise Broken("anchor_differs", f"Seal {sequence} is not that of its anchor of {anchor['at']}.", sequence)
        self.compared += anchor is not None

    def record(self, record: Fields) -> None:
        """The next record. Raises Broken."""
        if not {"event", "kind", "seal"} <= set(record) <= {"event", "kind", "seal", "unreadable"}:
            raise Broken("line", "The line is not a record.")
        seal, event = record["seal"], record["event"]
        if seal is not None and not well_formed(seal, SEAL):
            raise Broken("altered", "A seal lacks columns, has more than belong to it, or other kinds.", self.next)
        where = (seal["sequence"], seal["event_id"]) if seal is not None else (None, None)
        if event is not None and not well_formed(event, EVENT):
            raise Broken("altered", "An event lacks columns, has more than were sealed, or other kinds.", *where)
        if event is not None and (self.selection or seal is None):
            if event["id"] <= self._last_event:
                raise Broken("line", f"Event {event['id']} is out of its place.", where[0], event["id"])
            self._last_event = event["id"]
        if seal is None:
            self._waiting(event)
        else:
            self._seal(seal, event, "unreadable" in record)

    def _waiting(self, event: Fields | None) -> None:
        self.unsealed += 1
        if self.selection or event is None:
            return
        if event["id"] < self._highest and long_before(event["at"], self._sealed_at):
            raise Broken("unsealed", f"Event {event['id']} has no seal, but later ones have.", None, event["id"])

    def _seal(self, seal: Fields, event: Fields | None, unreadable: bool) -> None:
        sequence, event_id = seal["sequence"], seal["event_id"]
        where = sequence, event_id
        follows = sequence == self.next
        if not self.selection and (not follows or self.unsealed):
            expected = sequence if sequence < 1 or self.next is None else self.next
            raise Broken("seal_missing", f"Seal {expected} is missing or out of its place (here {sequence}).", expected)
        self._take_up(seal["key_id"], *where)
        if follows and seal["previous_mac"] != self.mac:
            raise Broken("link", f"Seal {sequence} does not follow seal {sequence - 1}.", *where)
        if event is None and not unreadable:
            raise Broken("event_missing", f"Event {event_id}, which seal {sequence} was made for, is missing.", *where)
        if event is None or event["id"] != event_id or not self._right(seal, event):
            action = f" ({event['action'][:64]!a})" if event is not None else ""
            raise Broken("altered", f"Event {event_id}{action} or its seal, number {sequence}, was altered.", *where)
        self._compare(sequence, seal["mac"])
        self.gaps += self.sealed > 0 and not follows
        self.sealed += 1
        self.next, self.mac = sequence + 1, seal["mac"]
        self._highest, self._sealed_at = max(self._highest, event_id), seal["sealed_at"]

    def _take_up(self, key_id: str, sequence: int, event_id: int) -> None:
        if self.keys is not None and key_id not in self.keys:
            sentence = f"Seal {sequence} was made with another key ({key_id!a}) than those given."
            raise Broken("key_unknown", sentence, sequence, event_id)
        # A selection is not in the order of sealing: there, the anchors alone say when a key was replaced.
        returned = not self.selection and key_id in self._replaced
        if returned or self.anchors.replaced(key_id, sequence):
            sentence = f"Seal {sequence} was made with key {key_id!a} after that had been replaced."
            raise Broken("key_replaced", sentence, sequence, event_id)
        if key_id != self._key_id:
            self._replaced = {*self._replaced, self._key_id} if self._key_id else self._replaced
            self._key_id = key_id

    def _right(self, seal: Fields, event: Fields) -> bool:
        return event["version"] == 1 and (
            self.keys is None or self.keys[seal["key_id"]].of_seal(seal, event) == seal["mac"]
        )

    def end(self, trailer: Fields | None, digest: str) -> None:
        """What the last lines must be. Raises Broken."""
        last, head = self.header["last_sequence"], self.header["head"]
        short = not self.selection and last is not None and self.next != last + 1
        if trailer is None or short:
            raise Broken("truncated", "The export was cut off: its end is missing.", self.next if short else None)
        if last is not None and last == head["sequence"] and self.mac != head["mac"]:
            raise Broken("trailer", "The last seal is not the head of the chain that the header names.", last)
        if last != head["sequence"]:
            self._compare(head["sequence"], head["mac"])
        if self._cut_off is not None:
            at, held, ended = self._cut_off["at"], self._cut_off["sequence"], head["sequence"]
            sentence = f"The record ended at seal {ended} when it was exported, but at {at} it held seal {held}"
            raise Broken("truncated", f"{sentence}: it was cut off, or an old copy was put back.", ended + 1)
        counts = {"events": self.sealed + self.unsealed, "sealed": self.sealed, "unsealed": self.unsealed}
        if trailer != {**counts, "head": head, "kind": "trailer", "sha256": trailer.get("sha256")}:
            raise Broken("trailer", "Lines are missing, or there are too many: the trailer counts others.")
        if trailer["sha256"] != digest:
            raise Broken("digest", "The file was altered after it was exported: its digest is another one.")


def long_before(at: str, sealed_at: str) -> bool:
    """Whether an event is so old that a sealer would have sealed it before this."""
    form = "%Y-%m-%dT%H:%M:%S.%fZ"
    try:
        return datetime.strptime(at, form) < datetime.strptime(sealed_at, form) - UNSEALED_GRACE
    except ValueError:
        return False


def header_of(lines: Iterator[Fields]) -> Fields:
    """The first line. Raises Unusable for what is not an export of this format."""
    try:
        header = next(lines, None)
    except Broken:
        header = None
    if header is None or header.get("format") != FORMAT or set(header) != set(FACTS):
        raise Unusable(f"This is not an export in the format {FORMAT!r}.")
    head, ends = header["head"], (header["first_sequence"], header["last_sequence"])
    good = header["coverage"] in ("range", "selection") and isinstance(header["exported_at"], str)
    good = good and isinstance(head, dict) and set(head) == {"mac", "sequence"} and type(head["sequence"]) is int
    good = good and (ends == (None, None) or all(type(end) is int for end in ends))
    if good:
        return header
    raise Unusable("The header of the export can't be read.")


def walk(lines: Lines, check: Check, records: Iterator[Fields]) -> None:
    """All lines after the header. Raises Broken."""
    trailer = None
    check.start()
    try:
        for fields in records:
            if trailer is not None:
                raise Broken("line", "Something stands behind the trailer.")
            if fields.get("kind") == "trailer":
                trailer = fields
            else:
                check.record(fields)
    except Broken as error:
        if error.kind == "line" and error.sequence is None and not check.selection:
            error.sequence = check.next
        raise
    check.end(trailer, lines.body.hexdigest())


def report(check: Check, lines: Lines, error: Broken | None, with_anchors: bool) -> Fields:
    """The verdict, and what it rests on."""
    checked = ["the form of each line, the counts and the digest of the file (which anybody could compute again)"]
    not_checked: list[str] = []
    if check.keys is not None:
        checked.append(f"the codes of {check.sealed} seals, computed again from every column of seal and event")
    else:
        not_checked.append("ANY CODE: seals are HMACs, which have no public part, so only --key checks them")
        not_checked.append("whether columns were altered by somebody who then made the digest anew")
    if check.selection:
        not_checked.append(f"whether events were left out: this is a selection ({check.gaps} gaps between its seals)")
    else:
        checked.append("the numbers and links of the seals: none is missing between the first and the last")
    first = check.header["first_sequence"]
    if check.before is not None:
        checked.append("that its first seal follows the last one of the file before")
    elif first is not None and first > 1:
        not_checked.append(f"what came before seal {first}: give the files that hold it as well, oldest first")
    if with_anchors:
        checked.append(f"{check.compared} anchors of its seals" + ("" if check.keys else ", not their own codes"))
        if check.anchors.missing:
            not_checked.append(
                f"anchors that the syslog lacks before one that it holds ({check.anchors.missing} places)"
            )
    else:
        not_checked.append("anchors: without --anchors, a record whose end was cut off before the export looks whole")
    if check.unsealed:
        not_checked.append(f"{check.unsealed} events that waited for the sealer: nothing protects them yet")
    not_checked.append("header and trailer are not sealed: compare the SHA-256 with the record of the export")
    place = None
    if error is not None:
        place = {"kind": error.kind, "sequence": error.sequence, "event_id": error.event_id, "sentence": str(error)}
        place["line"] = None if error.kind.startswith("anchor") else lines.number
    counts = {"sealed": check.sealed, "unsealed": check.unsealed, "last_mac": check.mac}
    verdict = {"ok": error is None, "first_break": place, "header": check.header}
    return {**verdict, **counts, "checked": checked, "not_checked": not_checked}


def in_words(found: Fields) -> str:
    """The report for people."""
    header = found["header"]
    first, last, head = header["first_sequence"], header["last_sequence"], header["head"]["sequence"]
    extent = f"seals {first} to {last}" if first is not None else f"{found['sealed']} seals"
    made = f"Exported {header['exported_at']} by {header['exported_by']!a}, query {header['query']!a}"
    lines = [f"SHA-256 {found['sha256']}", made]
    lines.append(f"Holds a {header['coverage']}: {extent}; the record then ended at seal {head}.")
    lines += [f"Checked: {what}." for what in found["checked"]] + [f"NOT checked: {w}." for w in found["not_checked"]]
    place = found["first_break"]
    if place is None:
        lines.append("The export is whole, as far as it was checked.")
    else:
        at = f"line {place['line']}: " if place["line"] else ""
        lines.append(f"The export is BROKEN: {at}{place['sentence']}")
    return "\n".join(lines)


def keys_from(paths: list[str] | None) -> Keys | None:
    """The keys in these files; None when none is given. Raises OSError."""
    found: Keys = {}
    for path in paths or []:
        with open(path, "rb") as handle:
            key = Key(handle.read().strip())
        found[key.id] = key
    return found or None


def verify_file(
    path: str, check_of: Callable[[Fields], Check], anchors: str | None, syslog: list[str] | None
) -> tuple[Fields, Check]:
    """Check one export; returns the report, and the check from which the next file goes on."""
    with open(path, "rb") as handle:
        lines = Lines(handle)
        records = iter(lines)
        check, error = check_of(header_of(records)), None
        try:
            if syslog and not check.anchors.by_seal:
                read_syslog(syslog, check.keys, check.anchors)
            elif anchors is not None and not check.anchors.by_seal:
                read_anchors(anchors, check.keys, check.anchors)
        except Broken as broken:
            error = broken  # told only if the anchors before it find nothing worse: a place in the record
        try:
            walk(lines, check, records)
        except Broken as broken:
            error = broken
        found = report(check, lines, error, bool(syslog or anchors))
        for rest in iter(lambda: handle.read(1 << 20), b""):
            lines.whole.update(rest)
        return {**found, "sha256": lines.whole.hexdigest()}, check


def verify(options: argparse.Namespace) -> Fields:
    """Check one export or several as one chain; returns the report. Raises Unusable and OSError.

    Of several, it has the report of each in `files`, up to the first that is broken.
    """
    keys, anchors = keys_from(options.key), Anchors()
    check: Check | None = None

    def check_of(header: Fields) -> Check:
        if options.selection != (header["coverage"] == "selection"):
            raise Unusable(f"it is a {header['coverage']}; --selection is for selections, where gaps are no break.")
        return Check(header, keys, anchors, check)

    found = []
    if options.selection and len(options.export) > 1:
        raise Unusable("several files are checked as one chain, and a selection is none.")
    for path in options.export:
        one, check = verify_file(path, check_of, options.anchors, options.syslog)
        found.append({**one, "file": str(path)})
        if not one["ok"]:
            break
    return found[0] if len(options.export) == 1 else {"ok": all(one["ok"] for one in found), "files": found}


def main() -> NoReturn:
    """The command."""
    parser = argparse.ArgumentParser(description="Check an export of Slipway's audit record.")
    parser.add_argument("export", metavar="EXPORT.jsonl", nargs="+", help="one, or several that follow each other")
    parser.add_argument("--key", metavar="KEYFILE", action="append", help="a seal key; without it no code is checked")
    parser.add_argument("--anchors", metavar="ANCHORFILE", help="a copy of anchors.jsonl, best from another machine")
    logged = "anchors as a syslog kept them, instead of --anchors; may be given several times"
    parser.add_argument("--syslog", metavar="FILE", action="append", help=logged)
    parser.add_argument("--selection", action="store_true", help="the export is known to hold selected events only")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options = parser.parse_args()
    try:
        found = verify(options)
    except (Unusable, OSError) as error:
        print(f"The input can't be used: {error}", file=sys.stderr)
        sys.exit(2)
    words = "\n\n".join(f"{one['file']}\n{in_words(one)}" for one in found["files"]) if "files" in found else ""
    print(json.dumps(found) if options.json else words or in_words(found))
    sys.exit(0 if found["ok"] else 1)


if __name__ == "__main__":
    main()
