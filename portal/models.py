"""What the portal itself keeps: the searches that auditors saved."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import urlencode

from django.conf import settings
from django.db import models
from django.db.models import Q

from audit.record import Target

NAME_LENGTH = 100


class SavedSearchQuerySet(models.QuerySet["SavedSearch"]):
    def visible_to(self, user: Any) -> Self:
        """One's own, and those that others share."""
        return self.filter(Q(owner=user.pk) | Q(is_shared=True))


class SavedSearch(models.Model):
    """A question to the list of events, under a name. `query` holds filters of the list, by their names."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=NAME_LENGTH)
    query = models.JSONField(default=dict)
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SavedSearchQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["name", "pk"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_saved_search_per_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def as_address(self) -> str:
        """The query as it stands behind the list's address."""
        return urlencode(self.query)

    def audit_target(self) -> Target:
        return Target(type="search", id=str(self.pk), name=self.name)
