"""The guest agent's answers are hostile input: none of them does more than end the call with an error of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from hypervisor.errors import AgentRefused, AgentUnavailable, HypervisorError, OperationTimeout
from hypervisor.libvirt_driver import open_libvirt
from hypervisor.libvirt_driver.agent import PIECE_BYTES
from hypervisor.protocol import Hypervisor

Answer = Callable[[dict[str, Any]], str]


@pytest.fixture
def guest() -> Iterator[tuple[Hypervisor, str]]:
    """A connection and a guest of libvirt's test driver, whose agent the tests play."""
    connection = open_libvirt("test:///default")
    yield connection, connection.list_guests()[0].uuid
    connection.close()


class PlayedAgent:
    """Answers in the agent's place, and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, _domain: object, text: str, timeout: int, flags: int) -> str:
        request = json.loads(text)
        assert 0 < timeout <= 60
        assert flags == 0
        self.asked.append(request)
        answer = self.answers[request["execute"]]
        if callable(answer):
            answer = answer(request.get("arguments", {}))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps({"return": answer})


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PlayedAgent]:
    def begin(**answers: Any) -> PlayedAgent:
        agent = PlayedAgent(**answers)
        monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent)
        return agent

    return begin


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def failure(code: int, domain: int = libvirt.VIR_FROM_QEMU) -> Exception:
    error = libvirt.libvirtError("x")
    error.err = (code, domain, "said \x1b[31mthe guest", 2, None, None, None, 0, 0)
    return error


NONSENSE = [
    "",
    "no json",
    "[]",
    "null",
    "17",
    '{"return": ',
    '{"return": null}',
    '{"return": []}',
    '{"return": "text"}',
    "{}",
    "[" * 100_000,
    '{"return": ' + '{"a":' * 50_000,
    '{"return": {"pid": "1"}}',
    '{"return": {"pid": true}}',
    '{"return": {"pid": 1.5}}',
    '{"return": {"pid": NaN}}',
    '{"return": {"pid": 1' + "0" * 3000 + "}}",
    '{"return": {"pid": 1' + "0" * 6000 + "}}",
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_for_a_started_program(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], answer: str
) -> None:
    connection, uuid = guest
    play(guest_exec=answer)
    with pytest.raises(AgentRefused, match="nonsense"):
        connection.agent_exec(uuid, ["/bin/true"])


@pytest.mark.parametrize(
    "status",
    [
        {"exited": True},
        {"exited": True, "exitcode": "0"},
        {"exited": True, "exitcode": None},
        {"exited": True, "exitcode": 0, "out-data": 7},
        {"exited": True, "exitcode": 0, "out-data": "no base64!"},
        {"exited": True, "exitcode": 0, "out-data": "QQ"},
        {"exited": True, "exitcode": 0, "err-data": "é"},
        {"exited": True, "signal": "KILL"},
        [],
        "x",
        None,
    ],
)
def test_nonsense_for_an_ended_program(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], status: Any
) -> None:
    connection, uuid = guest
    play(guest_exec={"pid": 7}, guest_exec_status=status)
    with pytest.raises(AgentRefused, match="nonsense"):
        connection.agent_exec(uuid, ["/bin/true"])


def test_a_programs_outcome(guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]) -> None:
    connection, uuid = guest
    waits = [{"exited": False}, {"exited": False}, {"exited": True, "exitcode": 3, "out-data": b64(b"\x00\xff<b>")}]
    agent = play(guest_exec={"pid": 7}, guest_exec_status=lambda _arguments: waits.pop(0))
    result = connection.agent_exec(uuid, ["/bin/echo", "a b", "$(id)", '"'])
    assert (result.exit_code, result.stdout, result.stderr, result.truncated) == (3, b"\x00\xff<b>", b"", False)
    assert agent.asked[0]["arguments"] == {
        "path": "/bin/echo",
        "arg": ["a b", "$(id)", '"'],
        "capture-output": True,
    }
    assert [one["arguments"] for one in agent.asked[1:]] == [{"pid": 7}] * 3


def test_a_program_that_was_killed_or_wrote_too_much(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]
) -> None:
    connection, uuid = guest
    play(guest_exec={"pid": 7}, guest_exec_status={"exited": True, "signal": 9, "err-truncated": True})
    result = connection.agent_exec(uuid, ["/bin/true"])
    assert (result.exit_code, result.truncated) == (137, True)


def test_a_program_that_does_not_end(guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]) -> None:
    connection, uuid = guest
    agent = play(guest_exec={"pid": 7}, guest_exec_status={"exited": False})
    with pytest.raises(OperationTimeout):
        connection.agent_exec(uuid, ["/bin/sleep", "9"], timeout_seconds=1)
    assert 4 <= len(agent.asked) <= 20  # short waits first, then longer ones


@pytest.mark.parametrize("argv", [[], "", "/bin/true", ["/bin/echo", "a\x00b"]])
def test_what_is_no_argument_list(guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], argv: Any) -> None:
    connection, uuid = guest
    agent = play()
    with pytest.raises(AgentRefused):
        connection.agent_exec(uuid, argv)
    assert agent.asked == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, AgentUnavailable),
        (libvirt.VIR_ERR_AGENT_UNSYNCED, AgentUnavailable),
        (libvirt.VIR_ERR_OPERATION_INVALID, AgentUnavailable),
        (libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, AgentUnavailable),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, AgentUnavailable),
        (libvirt.VIR_ERR_SYSTEM_ERROR, AgentUnavailable),
        (libvirt.VIR_ERR_INTERNAL_ERROR, AgentRefused),
    ],
)
def test_libvirts_own_errors(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], code: int, expected: type[HypervisorError]
) -> None:
    connection, uuid = guest
    play(guest_ping=failure(code), guest_file_open=failure(code))
    for attempt in (lambda: connection.agent_ping(uuid), lambda: connection.agent_read_file(uuid, "/x")):
        with pytest.raises(HypervisorError) as caught:
            attempt()
        assert type(caught.value) is expected
        assert str(caught.value).isprintable()


def test_a_file_is_read_in_pieces_up_to_the_limit(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]
) -> None:
    connection, uuid = guest
    wanted = 2 * PIECE_BYTES + 10

    def read(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"count": arguments["count"], "buf-b64": b64(b"x" * arguments["count"]), "eof": False}

    agent = play(guest_file_open=5, guest_file_read=read, guest_file_close={})
    assert connection.agent_read_file(uuid, "/dev/zero", limit_bytes=wanted) == b"x" * wanted
    assert [one["arguments"]["count"] for one in agent.asked[1:-1]] == [PIECE_BYTES, PIECE_BYTES, 10]
    assert agent.asked[0]["arguments"] == {"path": "/dev/zero", "mode": "rb"}
    assert agent.asked[-1] == {"execute": "guest-file-close", "arguments": {"handle": 5}}


def test_a_guest_that_sends_more_than_asked_does_not_pass_the_limit(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]
) -> None:
    connection, uuid = guest
    play(guest_file_open=5, guest_file_read={"count": 1, "buf-b64": b64(b"x" * 5000)}, guest_file_close={})
    assert connection.agent_read_file(uuid, "/x", limit_bytes=100) == b"x" * 100


def test_a_guest_that_sends_nothing_ends_the_reading(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]
) -> None:
    connection, uuid = guest
    play(guest_file_open=5, guest_file_read={"count": 0, "buf-b64": "", "eof": False}, guest_file_close={})
    assert connection.agent_read_file(uuid, "/x") == b""


@pytest.mark.parametrize("answer", [{"buf-b64": 5}, {"buf-b64": "%%%"}, [], "x"])
def test_nonsense_in_a_file_closes_it(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], answer: Any
) -> None:
    connection, uuid = guest
    agent = play(guest_file_open=5, guest_file_read=answer, guest_file_close=failure(86))
    with pytest.raises(AgentRefused, match="nonsense"):
        connection.agent_read_file(uuid, "/x")
    assert agent.asked[-1]["execute"] == "guest-file-close"


@pytest.mark.parametrize("handle", [None, "5", {}, True, 2**70])
def test_nonsense_for_an_opened_file(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], handle: Any
) -> None:
    connection, uuid = guest
    play(guest_file_open=handle)
    with pytest.raises(AgentRefused, match="nonsense"):
        connection.agent_read_file(uuid, "/x")


def test_a_file_is_written_whole_by_an_agent_that_takes_little_at_a_time(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent]
) -> None:
    connection, uuid = guest
    written = bytearray()

    def write(arguments: dict[str, Any]) -> dict[str, Any]:
        piece = base64.b64decode(arguments["buf-b64"])[:30_000]
        written.extend(piece)
        return {"count": len(piece), "eof": False}

    agent = play(guest_file_open=5, guest_file_write=write, guest_file_flush={}, guest_file_close={})
    content = bytes(range(256)) * 500
    connection.agent_write_file(uuid, "/x", content)
    assert bytes(written) == content
    assert [one["execute"] for one in agent.asked[-2:]] == ["guest-file-flush", "guest-file-close"]


@pytest.mark.parametrize("count", [0, -1, 2**40, "5", None, True])
def test_nonsense_for_a_written_piece(
    guest: tuple[Hypervisor, str], play: Callable[..., PlayedAgent], count: Any
) -> None:
    connection, uuid = guest
    play(guest_file_open=5, guest_file_write={"count": count}, guest_file_close={})
    with pytest.raises(AgentRefused, match="nonsense"):
        connection.agent_write_file(uuid, "/x", b"content")
