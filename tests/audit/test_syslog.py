"""Anchors in a syslog: sent beside the file, by a thread that holds nothing up, and told when they don't arrive."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from audit import health, syslog
from audit.models import AuditSeal
from audit.syslog import Destination, Forwarder, destination
from portal.pages import attention
from tests import factories as make
from tests.audit.helpers import anchors, seal, write
from tests.audit.syslogs import PREFIX, Syslog, until
from tests.audit.test_processes import DEADLINE, Processes
from tests.audit.test_processes import processes as processes

pytestmark = pytest.mark.django_db

KINDS = ["unix", "udp", "tcp"]


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Syslog]:
    """A syslog that was not started yet."""
    there = Syslog(request.param, tmp_path)
    yield there
    there.end()


def _file() -> Path:
    return Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE)


def _grow() -> None:
    write(1)
    seal()


def _texts() -> list[str]:
    return _file().read_text().splitlines()


def _came(there: Syslog) -> list[str]:
    """The anchors that came, each once, in their order."""
    return list(dict.fromkeys(line[line.index("{") :] for line in there.lines()))


# The setting


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/dev/log", Destination("unix", "/dev/log")),
        ("udp://192.0.2.7:5140", Destination("udp", "192.0.2.7", 5140)),
        ("tcp://Logs.example", Destination("tcp", "logs.example", 514)),
        ("tcp://[2001:db8::7]:601", Destination("tcp", "2001:db8::7", 601)),
    ],
)
def test_where_a_syslog_may_be(text: str, found: Destination) -> None:
    assert destination(text) == found
    assert destination(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("dev/log", "udp://", "udp://:514", "udp://h:0", "udp://h:70000", "tcp://h:x", "http://h", "tls://h:6514"),
        *("h:514", "tcp://me:pw@h:514", "tcp://h:514/path", "tcp://h?x", "tcp://a b", "tcp://[::1", "/" + "x" * 107),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither the path of a socket"):
        destination(text)


def test_a_bad_value_ends_the_start_with_a_sentence() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "portal.settings", "SLIPWAY_AUDIT_SYSLOG": "logs:514"}
    command = [sys.executable, "-c", "import django; django.setup()"]
    done = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: SLIPWAY_AUDIT_SYSLOG is wrong: 'logs:514' is neither" in done.stderr


# Sending


def test_each_line_of_the_file_comes_as_it_is(there: Syslog) -> None:
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    assert forwarder.forward() == 1  # a new syslog begins with the newest anchor
    for _ in range(3):
        _grow()
        forwarder.forward()
    assert forwarder.forward() == 0
    until("the lines", lambda: _came(there) == _texts()[-4:])
    assert there.lines()[0].startswith(f"{PREFIX}slipway-anchor: {{")


def test_one_that_is_started_late_gets_what_waited(there: Syslog) -> None:
    _grow()
    forwarder = Forwarder(_file(), there.to)
    for _ in range(3):
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            forwarder.forward()
        _grow()
    there.start()
    assert forwarder.forward() == 4
    until("the lines", lambda: _came(there) == _texts()[-4:])


def test_one_that_was_away_gets_all_that_it_missed(there: Syslog) -> None:
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.forward()
    until("the first line", lambda: len(_came(there)) == 1)
    there.end()
    for _ in range(3):
        _grow()
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            forwarder.forward()
    there.start()
    assert Forwarder(_file(), there.to).forward() == 3  # also by another sealer
    until("the lines", lambda: _came(there) == _texts()[-4:])


def test_more_than_a_batch_comes_in_order(there: Syslog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "BATCH", 2)
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.forward()
    for _ in range(5):
        _grow()
    assert forwarder.forward() == 5
    until("the lines", lambda: _came(there) == _texts()[-6:])


def test_a_syslog_that_takes_a_stream_and_does_not_read_it_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "_STREAM_SECONDS", 0.2)
    _grow()
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        to = Destination("tcp", "127.0.0.1", stuck.getsockname()[1])
        with pytest.raises(TimeoutError):
            Forwarder(_file(), to).forward()


def test_a_line_cut_short_or_still_being_written_is_not_sent(there: Syslog) -> None:
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.forward()
    with _file().open("ab") as handle:
        handle.write(b'{"at":"2026-')
    assert forwarder.forward() == 0
    _grow()
    assert forwarder.forward() == 1
    until("the lines", lambda: len(_came(there)) == 2)
    assert _came(there)[-1] == _texts()[-1]


def test_a_new_anchor_file_and_a_new_syslog_begin_with_the_newest_line(tmp_path: Path, there: Syslog) -> None:
    there.start()
    for _ in range(3):
        _grow()
    Forwarder(_file(), there.to).forward()
    _file().write_text(_texts()[0] + "\n")
    assert Forwarder(_file(), there.to).forward() == 1
    other = Syslog("udp", tmp_path)
    other.start()
    try:
        assert Forwarder(_file(), other.to).forward() == 1
    finally:
        other.end()


# Told


def test_health_says_since_when_anchors_do_not_arrive(
    there: Syslog, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SLIPWAY_AUDIT_SYSLOG = there.to
    assert health.anchors_unsent_since() is None  # there is no anchor yet
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.forward()
    there.end()
    _grow()
    missed = json.loads(_texts()[-1])["at"]
    _grow()
    assert health.anchors_unsent_since() is None  # not late yet
    later = timezone.now() + timedelta(minutes=5)
    monkeypatch.setattr(health.timezone, "now", lambda: later)
    since = health.anchors_unsent_since()
    assert since is not None
    assert since.isoformat() == missed.replace("Z", "+00:00")
    auditor, stranger = make.user_with("administrator"), make.user("stranger")
    texts = [finding.text for finding in attention._record_findings(auditor)]
    sentence = f"The record's anchors have not reached syslog at {there.to} since {since:%Y-%m-%d %H:%M} UTC"
    assert any(text.startswith(sentence) for text in texts)
    assert attention._record_findings(stranger) == []
    there.start()
    forwarder.forward()
    assert health.anchors_unsent_since() is None


def test_without_the_setting_nothing_is_sent_or_told(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.SLIPWAY_AUDIT_SYSLOG is None
    _grow()
    later = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(health.timezone, "now", lambda: later)
    assert health.anchors_unsent_since() is None
    assert not _file().with_name("syslog.json").exists()


# At the sealer's end


def test_what_came_last_is_sent_at_the_end(there: Syslog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "LOOK_SECONDS", 3600)
    there.start()
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.start()
    until("the first line", lambda: len(_came(there)) == 1)
    _grow()
    forwarder.stop()
    until("the last line", lambda: _came(there)[-1:] == _texts()[-1:])


def test_what_could_not_be_sent_at_the_end_is_counted(there: Syslog, caplog: pytest.LogCaptureFixture) -> None:
    _grow()
    forwarder = Forwarder(_file(), there.to)
    forwarder.start()
    until("a failure", lambda: "Anchors don't reach syslog" in caplog.text)
    forwarder.stop()
    assert f"Anchors not sent to syslog at {there.to}: 1." in caplog.text


# A real sealer


@pytest.mark.django_db(transaction=True)
def test_a_sealer_seals_while_the_syslog_is_away_and_sends_when_it_is_back(there: Syslog, processes: Processes) -> None:
    processes._environment["SLIPWAY_AUDIT_SYSLOG"] = str(there.to)
    first = processes.sealer()
    write(3)
    processes.wait_for("the seals", lambda: AuditSeal.objects.count() == 3)
    processes.wait_for("the log", lambda: "Anchors don't reach syslog" in processes.log(first))
    first.send_signal(signal.SIGTERM)
    assert first.wait(DEADLINE) == 0
    missed = _texts()[-1]
    assert _came(there) == []
    there.start()
    second = processes.sealer()
    processes.wait_for("what was missed", lambda: missed in _came(there))
    there.end()
    write(2)
    processes.wait_for("the seals", lambda: AuditSeal.objects.count() == 5)
    second.send_signal(signal.SIGTERM)
    assert second.wait(DEADLINE) == 0
    missed = _texts()[-1]
    assert missed not in _came(there)
    there.start()
    third = processes.start("manage.py", "sealer", "--once")
    processes.wait_for("its end", lambda: third.poll() is not None)
    assert third.returncode == 0
    processes.wait_for("what was missed then", lambda: missed in _came(there))


@pytest.mark.django_db(transaction=True)
def test_a_syslog_that_is_stuck_holds_the_sealer_up_in_nothing(tmp_path: Path, processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        processes._environment["SLIPWAY_AUDIT_SYSLOG"] = f"tcp://127.0.0.1:{stuck.getsockname()[1]}"
        child = processes.sealer()
        for count in (2, 4, 6):
            write(2)
            processes.wait_for("the seals", lambda count=count: AuditSeal.objects.count() == count)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert [anchor.sequence for anchor in anchors().read(anchors().size())][-1] == 6
