"""The ASGI entry point of the console gateway."""

from __future__ import annotations

import os

import django

from portal.connections import keep_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)
keep_connections()

from console.gateway import Gateway  # noqa: E402 - Django comes first

application = Gateway()
