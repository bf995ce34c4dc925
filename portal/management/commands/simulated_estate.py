"""`manage.py simulated_estate`: enrol a simulated estate, where no hypervisor can be had."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from audit.context import at_the_command_line
from inventory.simulated import simulated_estate_enrol


class Command(BaseCommand):
    help = "Enrol the simulated estate's hosts and segments; idempotent."

    def handle(self, *args: Any, **options: Any) -> None:
        with at_the_command_line():
            hosts = simulated_estate_enrol()
        self.stdout.write(f"No real hypervisor here: {hosts} simulated hosts are enrolled instead.")
