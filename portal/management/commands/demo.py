"""`manage.py demo`: play the demo against a running server and a running lab (see `script/demo`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from portal.demo.story import Story


class Command(BaseCommand):
    help = "Let people of two teams maintain the lab's guests through the REST API."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("lab", type=Path, help="File with what `script/lab up` printed.")
        parser.add_argument("--data-dir", required=True, help="The lab's data directory.")

    def handle(self, *args: Any, **options: Any) -> None:
        lab = json.loads(options["lab"].read_text())
        data_dir = options["data_dir"]
        story = Story(settings.BASE_URL, lab, lambda version: _offer(lab["name"], data_dir, version))
        if not story.tell():
            sys.exit(1)
        if story.stage is not None:
            self.stdout.write("\nSign in as any of:")
            for name, password in story.stage.passwords.items():
                self.stdout.write(f"  {name:5} {password}")


def _offer(lab: str, data_dir: str, version: str) -> None:
    """Have the lab's package repository offer this version."""
    argv = [sys.executable, "-m", "lab", "offer", version, "--name", lab, "--data-dir", data_dir]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
