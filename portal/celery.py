"""The Celery app: a wake-up call for workers, and a static schedule. It carries ids; the database has the truth."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("slipway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["jobs"])
app.conf.beat_schedule = {
    "sweep": {"task": "jobs.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "sync": {"task": "inventory.sync_all", "schedule": 10.0, "options": {"expires": 10}},
    "sync-slow": {"task": "inventory.sync_all", "schedule": 30.0, "kwargs": {"slow": True}, "options": {"expires": 30}},
}
