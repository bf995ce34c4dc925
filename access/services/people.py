"""Users, teams and memberships."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed
from access.gate import Actor
from access.models import Membership, Team, User
from audit.events import EventAction
from audit.record import record


@transaction.atomic
def user_create(*, actor: Actor, username: str, password: str, full_name: str = "", email: str = "") -> User:
    """Create an account that holds nothing yet. Needs GRANT on everything. Raises InvalidAccessRequest."""
    gate.authorise(actor, Action.GRANT)
    first, _, last = full_name.strip().partition(" ")
    user = User(username=username, first_name=first, last_name=last, email=email)
    _validate(user)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidAccessRequest(" ".join(error.messages), field="password") from error
    user.set_password(password)
    user.save()
    record(EventAction.USER_CREATED, target=user, actor=actor, after={"username": username, "full_name": full_name})
    return user


@transaction.atomic
def user_deactivate(*, actor: Actor, user: User, reason: str = "") -> None:
    """Close an account: from now on it holds nothing, on any path. Needs GRANT on everything; not one's own."""
    gate.authorise(actor, Action.GRANT)
    if user == actor:
        raise InvalidAccessRequest("Nobody closes their own account; ask another administrator.", field="is_active")
    was_active = User.objects.select_for_update().values_list("is_active", flat=True).get(pk=user.pk)
    user.is_active = False
    user.save(update_fields=["is_active"])
    record(
        EventAction.USER_DEACTIVATED,
        target=user,
        actor=actor,
        reason=reason,
        before={"is_active": was_active},
        after={"is_active": False},
    )


@transaction.atomic
def team_create(*, actor: Actor, name: str, description: str = "") -> Team:
    """Create a team. Needs GRANT on everything. Raises InvalidAccessRequest."""
    gate.authorise(actor, Action.GRANT)
    team = Team(name=name.strip(), description=description)
    _validate(team)
    team.save()
    record(EventAction.TEAM_CREATED, target=team, actor=actor, after={"name": team.name})
    return team


@transaction.atomic
def member_add(*, actor: Actor, team: Team, user: User, is_lead: bool = False) -> Membership:
    """Put a person into a team. A lead may add members; only who grants on everything makes leads."""
    _authorise_membership(actor, team, lead_wanted=is_lead)
    membership, created = Membership.objects.get_or_create(team=team, user=user, defaults={"is_lead": is_lead})
    if not created:
        raise InvalidAccessRequest(f"{user} is in {team} already.", field="user")
    record(EventAction.MEMBERSHIP_ADDED, target=team, actor=actor, after=_facts(membership))
    return membership


@transaction.atomic
def member_remove(*, actor: Actor, team: Team, user: User) -> None:
    """Take a person out of a team. Raises InvalidAccessRequest when they are not in it."""
    _authorise_membership(actor, team, lead_wanted=False)
    membership = Membership.objects.select_for_update().filter(team=team, user=user).first()
    if membership is None:
        raise InvalidAccessRequest(f"{user} is not in {team}.", field="user")
    record(EventAction.MEMBERSHIP_REMOVED, target=team, actor=actor, before=_facts(membership))
    membership.delete()


def _facts(membership: Membership) -> dict[str, object]:
    """Ids too: what was so at some time is reckoned from these (`access.history`)."""
    user = membership.user
    return {"user": user.username, "user_id": user.pk, "is_lead": membership.is_lead}


def _authorise_membership(actor: Actor, team: Team, *, lead_wanted: bool) -> None:
    if gate.can(actor, Action.GRANT):
        return
    leads = actor.is_active and Membership.objects.filter(team=team, user=actor.pk, is_lead=True).exists()
    if leads and not lead_wanted:
        return
    raise NotAllowed(user=actor, action=Action.GRANT, target=team)


def _validate(instance: User | Team) -> None:
    exclude = {"password"} if isinstance(instance, User) else set()
    try:
        instance.full_clean(exclude=exclude)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidAccessRequest(" ".join(messages), field=field) from error
