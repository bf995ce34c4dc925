"""`manage.py access_explain`: why somebody may do something, or may not."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from access.actions import Action
from access.asof import Moment
from access.errors import InvalidAccessRequest
from access.explain import explain, in_words
from access.models import User
from access.models.grants import SCOPES
from audit.arguments import moment


class Command(BaseCommand):
    help = (
        "Explain why a user may do something to an object, or may not; with --at, whether they might then. Exits "
        "with 0 if they may, with 1 if not, with 2 if the record does not tell enough."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("action", choices=[action.value for action in Action])
        parser.add_argument("target", nargs="?", default="everything", help="vm:NAME, segment:NAME, host:NAME, "
                            "cluster:NAME (or an id in place of the name); everything, if left out")  # fmt: skip
        parser.add_argument("--at", type=moment, help="a moment of the past, in UTC: 2026-01-31T08:00, as the record "
                            "tells of it")  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']}.")
        target = _target(options["target"])
        if options["at"] is not None:
            self._explain_then(user, Action(options["action"]), target, options["at"])
            return
        explanation = explain(user, Action(options["action"]), target)
        self.stdout.write(explanation.sentence)
        for link in explanation.links:
            effect = "denies" if link.denies else "allows"
            ended = ", ended" if link.has_ended else ""
            self.stdout.write(f"  {effect} {link.action.value}: {in_words(link.grant)} [grant {link.grant.pk}{ended}]")
        if not explanation.allowed:
            raise SystemExit(1)

    def _explain_then(self, user: User, action: Action, target: Any, at: datetime) -> None:
        try:
            view = Moment(at).of([] if target is None else [target])
        except InvalidAccessRequest as error:
            raise CommandError(str(error), returncode=2) from error
        answer = view.why(user, action, target)
        self.stdout.write(answer.sentence)
        for link in answer.links:
            effect = "denied" if link.grant.denies else "allowed"
            ended = ", ended" if link.has_ended else ""
            self.stdout.write(f"  {effect} {link.action.value}: {link.grant} [grant {link.grant.id}{ended}]")
        if view.known_since is not None:
            raise CommandError(
                f"This is not certain: the record does not tell enough of what was at {view.known_since:%F %T} UTC.",
                returncode=2,
            )
        if not answer.allowed:
            raise SystemExit(1)


def _target(wanted: str) -> Any:
    """The object that is meant, None for everything. Raises CommandError."""
    if wanted == "everything":
        return None
    kind, _, name = wanted.partition(":")
    if kind not in SCOPES or not name:
        raise CommandError(f"“{wanted}” is not everything, and not one of {', '.join(f'{s}:NAME' for s in SCOPES)}.")
    rows: Any = apps.get_model("inventory", kind).objects
    found = list(rows.filter(name=name)[:2]) or list(rows.filter(pk=name)[:1] if name.isdigit() else [])
    if not found:
        raise CommandError(f"There is no {kind} {name}.")
    if len(found) > 1:
        raise CommandError(f"Several are named {name}; give the id.")
    return found[0]
