"""Who asks: fourteen people, each with a letter, a session for the pages and a token for the API.

The letters are the columns of the tables:

    a  anonymous: no session, no token            g  guest: views one VM of ours, and not its segment
    c  closed: an administrator whose account     h  host keeper: may place VMs on our cluster
       was closed after signing in                v  viewer   \\
    s  stranger: an account without any grant     o  operator   of our segment, each through teams;
    e  expired: owned our segment until today     m  maintainer   the owner leads the team that all are in
    d  denied: owns our segment, and is denied    w  owner     /
       it through a team                          p  platform operator: on everything
    r  rival: owns their segment, leads their team  u  auditor: on everything
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from access.models import Effect, Grant, Membership, TeamSegmentPermission, User
from portal.models import SavedSearch
from tests import factories as make
from tests.access.matrix.world import World, canary


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who asks, and what they show at each door."""

    letter: str
    cookie: str = ""
    token: str = ""


def gather(world: World) -> dict[str, Person]:
    """Everybody, by letter. Made by the services, as in an installation."""
    found = {"a": Person("a")}
    for letter, build in _BUILD.items():
        account = build(world)
        client = Client()
        client.force_login(account, backend="access.backends.GateBackend")
        found[letter] = Person(letter, client.cookies["sessionid"].value, make.token(account))
        if letter == "c":
            User.objects.filter(pk=account.pk).update(is_active=False)
    return found


def _stranger(world: World) -> User:
    return make.user("stranger")


def _closed(world: World) -> User:
    return make.user_with("administrator", username="closed")


def _expired(world: World) -> User:
    account = make.user("expired")
    team = make.team("temporary-help", members=[account])
    grant = make.grant(team, "owner", world.ours.segment, expires_at=timezone.now() + timedelta(hours=1))
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.filter(pk=grant.pk).update(expires_at=past)
    TeamSegmentPermission.objects.filter(grant=grant).update(expires_at=past)
    return account


def _denied(world: World) -> User:
    account = make.user_with("owner", world.ours.segment, username="denied")
    barred = make.team("barred", members=[account])
    make.grant(barred, "viewer", world.ours.segment, effect=Effect.DENY)
    return account


def _rival(world: World) -> User:
    account = make.user_with("owner", world.theirs.segment, username=canary("theirs", "lead"))
    Membership.objects.create(team=world.theirs.team, user=account, is_lead=True)
    return account


def _guest(world: World) -> User:
    return make.user_with("viewer", world.ours.vm, username="guest")


def _host_keeper(world: World) -> User:
    return make.user_with("placement", world.ours.cluster, username="host-keeper")


def _platform_operator(world: World) -> User:
    return make.user_with("platform-operator", username="platform-operator")


def _auditor(world: World) -> User:
    account, another = make.user_with("auditor", username="auditor"), make.user("another-auditor")
    asked = {"query": {"who": "somebody"}}
    world.ours.search = SavedSearch.objects.create(owner=account, name="mine", **asked)
    world.theirs.search = SavedSearch.objects.create(owner=another, name=canary("theirs", "search"), **asked)
    world.loose.search = SavedSearch.objects.create(owner=another, name="shared", is_shared=True, **asked)
    return account


def _of_our_team(role: str) -> Callable[[World], User]:
    """Somebody of the team that views our segment, and of one that holds more."""

    def build(world: World) -> User:
        account = make.user(f"our-{role}")
        Membership.objects.create(team=world.ours.team, user=account, is_lead=role == "owner")
        if role != "viewer":
            make.grant(make.team(f"our-{role}s", members=[account]), role, world.ours.segment)
        return account

    return build


_BUILD: dict[str, Callable[[World], User]] = {
    "c": _closed,
    "s": _stranger,
    "e": _expired,
    "d": _denied,
    "r": _rival,
    "g": _guest,
    "h": _host_keeper,
    "v": _of_our_team("viewer"),
    "o": _of_our_team("operator"),
    "m": _of_our_team("maintainer"),
    "w": _of_our_team("owner"),
    "p": _platform_operator,
    "u": _auditor,
}
