"""How strongly whoever acted had signed in, and whether they acted as an administrator, is told by each event."""

from __future__ import annotations

import getpass

import pytest
from django.core.management import call_command
from django.test import Client

from access.models import Team
from audit.events import EventAction
from audit.models import AuditEvent
from audit.sign_in import SignIn, sign_in_of
from tests import factories as make

pytestmark = pytest.mark.django_db


def last(action: EventAction) -> AuditEvent:
    return AuditEvent.objects.filter(action=action).latest("pk")


def make_team(client: Client) -> AuditEvent:
    answer = client.post("/api/v1/teams/", {"name": "night"}, content_type="application/json")
    assert answer.status_code == 201, answer.content
    return last(EventAction.TEAM_CREATED)


def by_token(user) -> Client:
    return Client(headers={"authorization": f"Token {make.token(user)}"})


def test_a_token_a_session_and_nobody_are_told_apart():
    user = make.user("ines", password="long-enough-and-odd")
    make.grant(user, "platform-operator")
    assert sign_in_of(make_team(by_token(user))) is SignIn.TOKEN
    Team.objects.all().delete()

    portal = Client()
    portal.post("/sign-in/", {"username": "ines", "password": "wrong"})
    assert sign_in_of(last(EventAction.USER_SIGN_IN_FAILED)) is SignIn.NOTHING
    portal.post("/sign-in/", {"username": "ines", "password": "long-enough-and-odd"})
    assert sign_in_of(last(EventAction.USER_SIGNED_IN)) is SignIn.PASSWORD
    assert sign_in_of(make_team(portal)) is SignIn.PASSWORD


def test_the_command_line_names_the_account_on_the_server(capsys):
    make.user("ines")
    call_command("token_create", "ines", days=1)
    event = last(EventAction.TOKEN_CREATED)
    assert sign_in_of(event) is SignIn.SERVER
    assert (event.actor_kind, event.actor_name) == ("system", f"{getpass.getuser()} (command line)")


def test_what_slipway_does_by_itself_nobody_signed_in_for():
    make.grant(make.user(), "viewer", make.segment())
    assert sign_in_of(last(EventAction.GRANT_CREATED)) is SignIn.NOBODY


@pytest.mark.parametrize(("role", "mark"), [("administrator", "administrator"), ("platform-operator", None)])
def test_what_is_done_as_an_administrator_is_marked(role, mark):
    event = make_team(by_token(make.user_with(role)))
    assert (event.detail or {}).get("standing") == mark


def test_who_is_an_administrator_by_their_team_is_marked_too():
    user = make.user()
    make.grant(make.team(members=[user]), "administrator")
    assert make_team(by_token(user)).detail["standing"] == "administrator"


def test_the_mark_ends_with_what_it_stands_for():
    user = make.user_with("platform-operator")
    grant = make.grant(user, "administrator")
    assert make_team(by_token(user)).detail["standing"] == "administrator"
    Team.objects.all().delete()
    grant.delete()
    assert make_team(by_token(user)).detail is None


def test_readers_of_the_record_see_it(client):
    event = make_team(by_token(make.user_with("platform-operator")))
    auditor = make.user_with("auditor")
    assert by_token(auditor).get(f"/api/v1/audit-events/{event.pk}/").json()["sign_in"] == "token"
    client.force_login(auditor, backend="access.backends.GateBackend")
    page = client.get(f"/admin/audit/auditevent/{event.pk}/change/").content.decode()
    assert SignIn.TOKEN.label in page
