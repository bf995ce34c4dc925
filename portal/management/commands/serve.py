"""`manage.py serve`: bring the installation up to date, then run all processes until Ctrl-C."""

from __future__ import annotations

import importlib.util
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from inventory.models import Host
from portal.processes import all_processes
from portal.supervisor import Supervisor


class Command(BaseCommand):
    help = "Migrate, install, and run web, worker, scheduler, watcher and sealer in the foreground."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        call_command("install", stdout=self.stdout)
        call_command("collectstatic", interactive=False, verbosity=0)
        if importlib.util.find_spec("libvirt") is None and not Host.objects.exists():
            call_command("simulated_estate", stdout=self.stdout)
        self.stdout.write(f"Slipway is at {settings.BASE_URL} (Ctrl-C ends it).")
        self.stdout.flush()
        Supervisor(all_processes()).run()
