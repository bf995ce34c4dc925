"""The Celery app: a wake-up call for workers, and a static schedule. It carries ids; the database has the truth."""

from __future__ import annotations

import os
import sys

from celery import Celery
from celery.signals import task_prerun, worker_init, worker_ready
from django.db import close_old_connections

from portal.collector import set_apart_what_stays
from portal.connections import keep_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("slipway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["jobs"])
app.conf.beat_schedule = {
    "sweep": {"task": "jobs.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "prove-paths": {"task": "jobs.prove_paths", "schedule": 60.0, "options": {"expires": 50}},
    "take-baselines": {"task": "jobs.take_baselines", "schedule": 10.0, "options": {"expires": 10}},
    "delete-snapshots": {"task": "jobs.delete_snapshots", "schedule": 60.0, "options": {"expires": 60}},
    "balance": {"task": "jobs.balance", "schedule": 300.0, "options": {"expires": 300}},
    "remove-leftovers": {"task": "jobs.remove_leftovers", "schedule": 300.0, "options": {"expires": 200}},
    "sync": {"task": "inventory.sync_all", "schedule": 10.0, "options": {"expires": 10}},
    "sync-slow": {"task": "inventory.sync_all", "schedule": 30.0, "kwargs": {"slow": True}, "options": {"expires": 30}},
}

# Celery's Django fixup closes the connection around each task, unless it was told to use it this many times.
app.conf["CELERY_DB_REUSE_MAX"] = sys.maxsize


@worker_init.connect
def keep(**_: object) -> None:
    """Let this worker's threads keep their connections: opening one for each task, as Celery has it, took a third of
    the time between a job's acceptance and its claim.
    """
    keep_connections()
    task_prerun.connect(close_old_connections)


@worker_ready.connect
def set_apart(**_: object) -> None:
    """The worker is up: from here on its own objects stay."""
    set_apart_what_stays()
