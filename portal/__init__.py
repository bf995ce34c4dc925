"""The Django project: settings, URLs, the Celery app, and the three faces: pages, API, auditors' admin."""

from portal.celery import app as celery_app

__all__ = ["celery_app"]
