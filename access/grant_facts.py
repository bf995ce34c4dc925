"""A grant as the record tells of it: written when it is given and when it is taken away, and read again later."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from access.effects import EVERYTHING, SCOPES

if TYPE_CHECKING:
    from access.gate import Key
    from access.models import Grant

#: What is written of a grant when it is given and when it is taken away to be reckoned with; the rest are words.
FACTS = frozenset({"holder_type", "holder_id", "scope_type", "scope_id", "role_id", "actions", "effect", "expires_at"})


@dataclass(frozen=True, slots=True)
class GrantThen:
    """A grant as it was at some time. `actions` are those that its permission rows held then."""

    id: int
    holder: Key
    scope: Key
    role_id: int
    actions: frozenset[str]
    effect: str
    expires_at: datetime | None
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def denies(self) -> bool:
        """Whether it takes away rather than gives."""
        return self.effect == "deny"

    def has_ended(self, at: datetime) -> bool:
        """Whether its end had come."""
        return self.expires_at is not None and self.expires_at <= at

    def document(self) -> dict[str, Any]:
        """What the record keeps of it: ids to reckon with, words to read."""
        return {
            **self.words,
            "holder_type": self.holder[0],
            "holder_id": self.holder[1],
            "scope_type": self.scope[0],
            "scope_id": self.scope[1],
            "role_id": self.role_id,
            "actions": sorted(self.actions),
            "effect": self.effect,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
        }

    @classmethod
    def of_grant(cls, grant: Grant, actions: Collection[str]) -> GrantThen:
        """The grant as it is now, with the actions that its rows hold."""
        scope = next((name for name in sorted(SCOPES) if getattr(grant, f"{name}_id") is not None), None)
        return cls(
            id=grant.pk,
            holder=("team", grant.team_id) if grant.team_id else ("user", grant.user_id),
            scope=(scope, getattr(grant, f"{scope}_id")) if scope else EVERYTHING,
            role_id=grant.role_id,
            actions=frozenset(actions),
            effect=str(grant.effect),
            expires_at=grant.expires_at,
            words={
                "holder": f"{'team' if grant.team else 'user'} {grant.holder}",
                "role": grant.role.slug,
                "scope": grant.scope_label,
                "author": grant.author.username if grant.author else "",
                "reason": grant.reason,
            },
        )

    @classmethod
    def of_document(cls, number: int, document: Mapping[str, Any]) -> GrantThen:
        """The grant that the record tells of. Raises KeyError when a fact is missing, ValueError when one is odd."""
        ends = document["expires_at"]
        return cls(
            id=number,
            holder=(str(document["holder_type"]), int(document["holder_id"])),
            scope=(str(document["scope_type"]), int(document["scope_id"])),
            role_id=int(document["role_id"]),
            actions=frozenset(map(str, document["actions"])),
            effect=str(document["effect"]),
            expires_at=None if ends is None else datetime.fromisoformat(ends),
            words={name: str(value) for name, value in document.items() if name not in FACTS},
        )

    def __str__(self) -> str:
        words = self.words.get
        through = f" through the {words('holder')}" if self.holder[0] == "team" else ""
        author = f", given by {words('author')}" if words("author") else ""
        return f"{words('role')} on {words('scope')}{through}{author} ({words('reason')})"
