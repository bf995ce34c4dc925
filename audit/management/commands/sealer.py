"""`manage.py sealer`: the process that seals the record."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection

from audit.locks import sealer_lock
from audit.sealer import BATCH, CannotSeal, configured
from audit.syslog import Forwarder

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
RETRY_SECONDS = 1.0


class Command(BaseCommand):
    """Seals until SIGTERM or Ctrl-C; a second one waits until the first is gone."""

    help = "Seal the audit record: number and chain new events, and write the head down outside the database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--once` for scripts and tests."""
        parser.add_argument("--once", action="store_true", help="Seal what is there, write the head down and end.")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        """Run. Raises CommandError when the key is missing or wrong, and with --once when another sealer works."""
        try:
            if once:
                self._once()
            else:
                _until_told(_stop_on_signals())
        except CannotSeal as error:
            raise CommandError(str(error)) from error

    def _once(self) -> None:
        with sealer_lock(_directory()) as mine:
            if not mine:
                raise CommandError("Another sealer is at work.")
            with _forwarding():
                sealed = configured().start()
        self.stdout.write(f"Sealed {sealed} events.")


def _directory() -> Path:
    return Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent


@contextmanager
def _forwarding() -> Iterator[None]:
    """Anchors go to the syslog, too, where there is one; beside the sealing, which does not wait for it."""
    to = settings.SLIPWAY_AUDIT_SYSLOG
    if to is None:
        yield
        return
    forwarder = Forwarder(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE), to)
    forwarder.start()
    try:
        yield
    finally:
        forwarder.stop()


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _until_told(stop: threading.Event) -> None:
    waiting = False
    while not stop.is_set():
        try:
            with sealer_lock(_directory()) as mine:
                if mine:
                    with _forwarding():
                        _work(stop)
                elif not waiting:
                    log.info("Another sealer is at work; waiting for it to end.")
                waiting = not mine
        except Error as error:
            log.error("The database failed the sealer: %s", error)
            connection.close()
        stop.wait(RETRY_SECONDS)


def _work(stop: threading.Event) -> None:
    sealer = configured()
    sealed = sealer.start()
    log.info("Sealing; %d events were waiting.", sealed)
    while not stop.is_set():
        # A pause after all but full batches: events are sealed together, in few commits, and still within a second.
        if sealer.step() < BATCH:
            stop.wait(PAUSE_SECONDS)
    sealer.stop()
