"""`manage.py watcher`: follow the hosts' events until ended by a signal."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand

from inventory.watcher import Watcher


class Command(BaseCommand):
    help = "Listen to the hosts' events and write sightings at once."

    def handle(self, *args: Any, **options: Any) -> None:
        watcher = Watcher()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: watcher.stop())
        watcher.run()
