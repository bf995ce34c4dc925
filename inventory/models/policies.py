"""What a VM or a segment may say about what is done with it."""

from __future__ import annotations

from django.db import models


class MigrationPolicy(models.TextChoices):
    """How far a live migration may go for its end; the figures are in `jobs.operations.migrate.policies`."""

    GENTLE = "gentle", "gentle: a short pause, or none"
    ASSURED = "assured", "assured: post-copy when it stalls"
    PAUSE_OK = "pause-ok", "pause-ok: a long pause when it stalls"
    LARGE = "large", "large: for much memory, longer pauses"


class BaselinePolicy(models.TextChoices):
    """When a VM of a segment gets its baseline by itself."""

    ADOPTED = "adopted", "as soon as it is in the segment"
    INSTALLED = "installed", "once it is marked as installed"
