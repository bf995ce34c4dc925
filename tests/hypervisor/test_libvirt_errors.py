"""From libvirt's errors to ours."""

from __future__ import annotations

import ast
from pathlib import Path

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.errors import (
    AccessDenied,
    AgentUnavailable,
    GuestBusy,
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    MigrationAborted,
    NotSupported,
    SnapshotFailed,
    SnapshotNotFound,
)
from hypervisor.libvirt_driver.errors import sentence, translated

QEMU, RPC, REMOTE = libvirt.VIR_FROM_QEMU, libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE


DRIVER = Path(__file__).parents[2] / "hypervisor" / "libvirt_driver"


def test_libvirts_own_error_is_caught_in_one_file() -> None:
    catching = {
        path.name
        for path in DRIVER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or "libvirtError" in ast.unparse(node.type))
    }
    assert catching == {"errors.py"}


def failure(code: int, domain: int = QEMU, message: str = "something") -> Exception:
    """What libvirt's binding raises."""
    error = libvirt.libvirtError("default message")
    error.err = (code, domain, message, 2, None, None, None, -1, -1)
    return error


def outcome(error: Exception, *, alive: bool = True, **how: object) -> HypervisorError:
    """What comes out of a block in which `error` was raised."""
    with pytest.raises(HypervisorError) as caught, translated(lambda: alive, **how):  # type: ignore[arg-type]
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (42, GuestNotFound),
        (72, SnapshotNotFound),
        (68, GuestBusy),
        (55, GuestStateInvalid),
        (3, NotSupported),
        (84, NotSupported),
        (67, NotSupported),
        (86, AgentUnavailable),
        (97, AgentUnavailable),
        (45, AccessDenied),
        (29, AccessDenied),
        (88, AccessDenied),
        (6, HostUnreachable),
        (1, HypervisorError),
        (9, HypervisorError),
        (99999, HypervisorError),
    ],
)
def test_a_code_has_one_meaning(code: int, expected: type[HypervisorError]) -> None:
    assert type(outcome(failure(code))) is expected


@pytest.mark.parametrize("code", [1, 4, 38, 39])
@pytest.mark.parametrize("domain", [RPC, REMOTE])
def test_trouble_on_the_wire_is_an_unreachable_host(code: int, domain: int) -> None:
    error = outcome(failure(code, domain), otherwise=SnapshotFailed)
    assert type(error) is HostUnreachable
    assert error.retryable


@pytest.mark.parametrize("code", [1, 9, 38, 42, 55, 68, 78])
def test_on_a_broken_connection_whatever_fails_is_an_unreachable_host(code: int) -> None:
    table = {libvirt.VIR_ERR_OPERATION_ABORTED: MigrationAborted}
    assert type(outcome(failure(code), alive=False, table=table)) is HostUnreachable


def test_the_callers_table_goes_first_and_its_default_last() -> None:
    table = {55: MigrationAborted}
    assert type(outcome(failure(55), table=table, otherwise=SnapshotFailed)) is MigrationAborted
    assert type(outcome(failure(42), table=table, otherwise=SnapshotFailed)) is GuestNotFound
    assert type(outcome(failure(9), table=table, otherwise=SnapshotFailed)) is SnapshotFailed


def test_an_error_without_details_is_translated() -> None:
    assert type(outcome(libvirt.libvirtError("nothing known"))) is HypervisorError


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), translated(lambda: True):
        raise KeyError("x")
    with pytest.raises(GuestBusy), translated(lambda: True, otherwise=SnapshotFailed):
        raise GuestBusy("x")


def test_the_message_is_a_sentence_and_libvirts_error_is_its_cause() -> None:
    error = outcome(failure(55, message="domain is not running"))
    assert str(error) == "Domain is not running."
    assert isinstance(error.__cause__, libvirt.libvirtError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc", "A b c."),
        ("\x1b[31mred\x1b[0m", "[31mred [0m."),
        ("done.", "Done."),
        ("", "The host gave no reason."),
        (None, "The host gave no reason."),
        ("\u202eevil\u2066", "Evil."),
    ],
)
def test_a_text_of_a_host_becomes_one_printable_sentence(text: str | None, expected: str) -> None:
    assert sentence(text) == expected


@given(st.text(max_size=2000))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    result = sentence(text)
    assert 1 <= len(result) <= 501
    assert "\n" not in result
    assert all(character.isprintable() or character == "\xa0" or ord(character) > 0x7E for character in result)
    assert result.encode("utf-8")
