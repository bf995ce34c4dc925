"""The two append-only tables. They name other things by copied ids and names: no foreign key, so nothing can cascade.

The database refuses UPDATE and DELETE by triggers (`audit.triggers`); the Python classes refuse them earlier, with a
clear error. Adding a column to `AuditEvent` means a new canonical form (`audit.canonical`) under a new `version`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from django.db import models

from audit.events import action_choices, actor_kind_choices, outcome_choices, via_choices
from audit.fields import DocumentField

_M = TypeVar("_M", bound=models.Model)

NAME_LENGTH = 255
ID_LENGTH = 64
MAC_LENGTH = 64  # hex digits of SHA-256


class AppendOnly(Exception):
    """Somebody tried to change or remove a row of the record."""

    def __init__(self) -> None:
        super().__init__("The audit record is append-only: its rows can't be changed or removed.")


class AppendOnlyQuerySet(models.QuerySet[_M]):
    """Rows can be read and added."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Refused: raises AppendOnly."""
        raise AppendOnly

    def delete(self) -> NoReturn:
        """Refused: raises AppendOnly."""
        raise AppendOnly

    def bulk_update(self, objs: Iterable[_M], fields: Iterable[str], batch_size: int | None = None) -> NoReturn:
        """Refused: raises AppendOnly."""
        raise AppendOnly

    def bulk_create(
        self,
        objs: Iterable[_M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[_M]:
        """Add rows; raises AppendOnly when asked to overwrite or to skip some."""
        if ignore_conflicts or update_conflicts:
            raise AppendOnly
        return super().bulk_create(objs, batch_size=batch_size)


class AppendOnlyModel(models.Model):
    """A row that is inserted once."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert. Raises AppendOnly for a row that is already there."""
        if not self._state.adding:
            raise AppendOnly
        super().save(force_insert=True, using=kwargs.get("using"))

    def delete(self, using: Any = None, keep_parents: bool = False) -> NoReturn:
        """Refused: raises AppendOnly."""
        raise AppendOnly


class AuditEvent(AppendOnlyModel):
    """One thing that happened. Every column is covered by the event's seal."""

    id = models.BigAutoField(primary_key=True)
    version = models.PositiveSmallIntegerField(default=1, help_text="Which canonical form its seal covers.")
    at = models.DateTimeField("when")
    action = models.CharField(max_length=64, choices=action_choices)
    outcome = models.CharField(max_length=16, choices=outcome_choices)

    actor_kind = models.CharField(max_length=16, choices=actor_kind_choices)
    actor_id = models.CharField(max_length=ID_LENGTH, blank=True)
    actor_name = models.CharField("who", max_length=NAME_LENGTH, blank=True)
    on_behalf_of_id = models.CharField(max_length=ID_LENGTH, blank=True)
    on_behalf_of_name = models.CharField("on behalf of", max_length=NAME_LENGTH, blank=True)
    via = models.CharField(max_length=16, choices=via_choices)
    token_id = models.CharField("API token", max_length=ID_LENGTH, blank=True)
    source_address = models.CharField(max_length=64, blank=True)

    object_type = models.CharField(max_length=64, blank=True)
    object_id = models.CharField(max_length=ID_LENGTH, blank=True)
    object_uuid = models.CharField("object UUID", max_length=ID_LENGTH, blank=True)
    object_name = models.CharField("what", max_length=NAME_LENGTH, blank=True)
    segment_id = models.CharField(max_length=ID_LENGTH, blank=True)
    segment_name = models.CharField("segment", max_length=NAME_LENGTH, blank=True)

    job_id = models.CharField("job", max_length=ID_LENGTH, blank=True)
    request_id = models.CharField("request", max_length=ID_LENGTH, blank=True)
    reason = models.TextField(blank=True)
    before = DocumentField(null=True, blank=True)
    after = DocumentField(null=True, blank=True)
    detail = DocumentField(null=True, blank=True)

    objects: ClassVar[models.Manager[AuditEvent]] = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[Sequence[str]] = ["-id"]
        indexes = [
            models.Index(fields=["at"], name="audit_event_at"),
            models.Index(fields=["action", "id"], name="audit_event_action"),
            models.Index(fields=["actor_id", "id"], name="audit_event_actor"),
            models.Index(fields=["object_type", "object_id", "id"], name="audit_event_object"),
            models.Index(fields=["object_uuid", "id"], name="audit_event_uuid"),
            models.Index(fields=["segment_id", "id"], name="audit_event_segment"),
            models.Index(fields=["job_id", "id"], name="audit_event_job"),
            # With these, every filter of the auditors' list reads one index, newest first.
            models.Index(fields=["actor_name", "id"], name="audit_event_who"),
            models.Index(fields=["on_behalf_of_id", "id"], name="audit_event_behalf"),
            models.Index(fields=["object_type", "id"], name="audit_event_noun"),
            models.Index(fields=["object_name", "id"], name="audit_event_what"),
            models.Index(fields=["segment_name", "id"], name="audit_event_where"),
            models.Index(fields=["request_id", "id"], name="audit_event_request"),
            models.Index(fields=["outcome", "id"], name="audit_event_outcome"),
            models.Index(fields=["via", "id"], name="audit_event_via"),
        ]

    def __str__(self) -> str:
        on = f" {self.object_type} {self.object_name}" if self.object_type else ""
        return f"{self.pk}: {self.action}{on} ({self.outcome})"


class AuditSeal(AppendOnlyModel):
    """An event's place in the chain. Written by the sealer alone; every column is covered by the code in `mac`."""

    sequence = models.BigIntegerField(primary_key=True)
    event_id = models.BigIntegerField(unique=True)
    previous_mac = models.CharField(max_length=MAC_LENGTH)
    mac = models.CharField(max_length=MAC_LENGTH)
    key_id = models.CharField(max_length=16)
    sealed_at = models.DateTimeField()

    objects: ClassVar[models.Manager[AuditSeal]] = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[Sequence[str]] = ["sequence"]

    def __str__(self) -> str:
        return f"Seal {self.sequence} of event {self.event_id}"
