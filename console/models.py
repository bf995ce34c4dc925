"""A console that was asked for, or is open. What has ended stands in the record alone."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from inventory.models import VM


class Console(models.Model):
    """One person at one VM's console, from the ticket to the end. Its row goes when it ends."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="consoles")
    ticket_digest = models.CharField(max_length=64, unique=True)
    #: How the person was signed in when asking: with the end of that, the console ends too.
    session_key = models.CharField(max_length=40, blank=True)
    token_digest = models.CharField(max_length=128, blank=True)
    asked_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.vm}"
