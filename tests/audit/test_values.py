"""What may be stored: plain JSON, storable anywhere, without secrets, safe to show."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import values
from audit.events import Outcome

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(ANYTHING)
def test_whatever_comes_in_plain_storable_json_comes_out(value: object) -> None:
    plain = values.plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert values.plain(plain) == plain
    for leaf in _leaves(plain):
        assert not isinstance(leaf, float)
        assert not isinstance(leaf, str) or ("\0" not in leaf and leaf.encode() is not None)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


@dataclass
class _Login:
    user: str
    password: str


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0.1, "0.1"),
        (0.1 + 0.2, "0.3"),
        (100.0, "100"),
        (-1234.5678912, "-1234.567891"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("1.50"), "1.50"),
        (2**63 - 1, 2**63 - 1),
        (2**63, "0x8000000000000000"),
        (True, True),
        (Outcome.REFUSED, "refused"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime(2026, 1, 31, 9, 0, tzinfo=timezone(timedelta(hours=1))), "2026-01-31T08:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(milliseconds=1500), "1.5"),
        (PurePosixPath("/images/base.qcow2"), "/images/base.qcow2"),
        (b"\x00\x01", "2 bytes"),
        ({"b", "a"}, ["a", "b"]),
        ((1, None), [1, None]),
        ({1: {"x": 2.5}}, {"1": {"x": "2.5"}}),
        (_Login("ines", "hunter2"), {"user": "ines", "password": values.MASK}),
        ("nul\0 and half a pair\ud800", "nul\ufffd and half a pair\ufffd"),
        ("first\r\nsecond\x1b[2J", "first\r\nsecond\x1b[2J"),  # JSON escapes them
        (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31T00:00:00Z"),
    ],
)
def test_each_kind_of_value_has_one_form(value: object, stored: object) -> None:
    assert values.plain(value) == stored


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "Password", "apiToken", "API_KEY", "key", "ssh-key", "client_secret", "Authorization"],
)
def test_a_secret_is_masked_by_the_name_of_its_key(name: str) -> None:
    canary = "canary-7d1f"
    kept = values.plain({"deep": [{name: canary}], name: {"inside": canary}, "other": "x"})
    assert canary not in json.dumps(kept)
    assert kept["other"] == "x"


@pytest.mark.parametrize(
    "name", ["token_id", "key_id", "key_fingerprint", "monkey", "keyboard", "tokenised", "secretary"]
)
def test_what_only_names_a_secret_is_kept(name: str) -> None:
    assert values.plain({name: "4711"}) == {name: "4711"}


def test_whether_there_is_a_secret_may_be_told() -> None:
    assert values.plain({"password": None, "token": "", "has_key": True}) == {
        "password": None,
        "token": "",
        "has_key": True,
    }


def test_a_password_in_an_address_is_masked() -> None:
    assert values.plain("qemu+ssh://root:hunter2@host/system") == f"qemu+ssh://root:{values.MASK}@host/system"


def test_one_event_cannot_fill_the_disk() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert len(json.dumps(values.plain(deep))) < 200
    assert len(values.plain("x" * 10_000_000)) == values.MAX_TEXT
    many = values.plain(list(range(values.MAX_ITEMS + 5)))
    assert (len(many), many[-1]) == (values.MAX_ITEMS + 1, "… 5 more")
    assert values.plain({str(number): 0 for number in range(values.MAX_ITEMS + 5)})["…"] == "5 more"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("web-1", "web-1"),
        ("Büro 東京", "Büro 東京"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("txt.\u202eexe", r"txt.\u202eexe"),
        ("line\u2028break\x85", r"line\u2028break\x85"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("tab\t", r"tab\t"),
        ("nul\0", "nul\ufffd"),
    ],
)
def test_a_name_cannot_act_on_a_terminal_or_a_page(name: str, shown: str) -> None:
    assert values.line(name, 255) == shown


@given(st.text())
def test_every_name_is_one_line_without_tricks_of_bounded_length(name: str) -> None:
    shown = values.line(name, 40)
    assert len(shown) <= 40
    assert all(character.isprintable() or unicodedata.category(character) == "Zs" for character in shown)
    assert len(shown.splitlines()) <= 1


def test_a_reason_keeps_its_lines() -> None:
    assert (
        values.paragraph("first\r\nsecond\rthird\n\tfourth\x1b\u202e") == "first\nsecond\nthird\n\tfourth\\x1b\\u202e"
    )
