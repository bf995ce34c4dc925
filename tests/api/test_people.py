"""Users, teams, roles and grants over the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.models import Effect, Grant, Role, Team, User
from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make
from tests.api.conftest import problem

pytestmark = pytest.mark.django_db


def test_creating_and_closing_an_account(admin, call):
    body = {"username": "zoe", "password": "a long enough secret", "full_name": "Zoe Hill", "email": "z@example.org"}
    answer = admin.post("users/", body)
    assert answer.status_code == 201
    found = answer.json()
    assert found == {"id": found["id"], "username": "zoe", "full_name": "Zoe Hill", "is_active": True}
    user = User.objects.get(username="zoe")
    assert user.check_password("a long enough secret")
    zoe = call(user)
    assert zoe.get("vms/").json()["count"] == 0
    closed = admin.patch(f"users/{user.pk}/", {"is_active": False, "reason": "left"})
    assert closed.json()["is_active"] is False
    assert AuditEvent.objects.get(action=EventAction.USER_DEACTIVATED).reason == "left"
    problem(zoe.get("vms/"), 401, "not_authenticated")
    assert "a long enough secret" not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "ada"}, "username"),
        ({"password": "short"}, "password"),
        ({"password": "password1234"}, "password"),
        ({"email": "nowhere"}, "email"),
        ({"is_superuser": True}, "is_superuser"),
    ],
)
def test_accounts_that_cannot_be(admin, change, field):
    body = {"username": "zoe", "password": "a long enough secret"} | change
    problem(admin.post("users/", body), 400, "invalid", field)
    assert User.objects.count() == 1


@pytest.mark.parametrize("value", [True, None, "false", 0, []])
def test_an_account_is_only_closed_here(admin, value):
    user = make.user()
    problem(admin.patch(f"users/{user.pk}/", {"is_active": value}), 400, "invalid", "is_active")
    problem(admin.patch(f"users/{user.pk}/", {"is_active": False, "is_staff": True}), 400, "invalid", "is_staff")
    assert User.objects.get(pk=user.pk).is_active


def test_people_see_themselves_and_their_team_mates(admin, call):
    anna, bob, carl = make.user("anna"), make.user("bob"), make.user("carl")
    web, _db = make.team("web", members=[anna], leads=[bob]), make.team("db", members=[carl])
    caller = call(anna)
    assert [user["username"] for user in caller.get("users/").json()["results"]] == ["anna", "bob"]
    assert caller.get("users/", search="car").json()["count"] == 0
    problem(caller.get(f"users/{carl.pk}/"), 404, "not_found")
    problem(caller.patch(f"users/{carl.pk}/", {"is_active": False}), 404, "not_found")
    problem(caller.patch(f"users/{bob.pk}/", {"is_active": False}), 403, "not_allowed")
    problem(caller.post("users/", {"username": "x", "password": "a long enough secret"}), 403, "not_allowed")
    assert [team["name"] for team in caller.get("teams/").json()["results"]] == ["web"]
    assert admin.get("users/").json()["count"] == 4
    assert caller.get(f"teams/{web.pk}/members/").json()["count"] == 2


def test_teams_and_members(admin, call):
    answer = admin.post("teams/", {"name": "web", "description": "The web"})
    assert answer.status_code == 201
    team = answer.json()
    assert admin.client.get(answer["Location"]).json() == team
    problem(admin.post("teams/", {"name": "web"}), 400, "invalid", "name")
    lead, member = make.user("lead"), make.user("member")
    address = f"teams/{team['id']}/members/"
    assert admin.post(address, {"user": lead.pk, "is_lead": True}).status_code == 201
    added = admin.post(address, {"user": member.pk}).json()
    assert (added["user"]["username"], added["is_lead"]) == ("member", False)
    problem(admin.post(address, {"user": member.pk}), 400, "invalid", "user")
    shown = [(one["user"]["username"], one["is_lead"]) for one in call(lead).get(address).json()["results"]]
    assert shown == [("lead", True), ("member", False)]

    problem(call(member).delete(f"{address}{lead.pk}/"), 403, "not_allowed")
    stranger = call(make.user())
    problem(stranger.get(address), 404, "not_found")
    problem(stranger.post(address, {"user": stranger.user.pk}), 404, "not_found")
    problem(stranger.delete(f"{address}{member.pk}/"), 404, "not_found")
    assert call(lead).delete(f"{address}{member.pk}/").status_code == 204
    problem(call(lead).delete(f"{address}{member.pk}/"), 404, "not_found")
    problem(admin.delete(f"{address}{member.pk}/"), 400, "invalid", "user")


def test_a_lead_makes_no_leads(call):
    lead, mate = make.user(), make.user()
    web = make.team("web", leads=[lead])
    make.team("both", members=[lead, mate])
    problem(call(lead).post(f"teams/{web.pk}/members/", {"user": mate.pk, "is_lead": True}), 403, "not_allowed")
    assert call(lead).post(f"teams/{web.pk}/members/", {"user": mate.pk}).status_code == 201


def test_roles(admin, call):
    answer = admin.post("roles/", {"slug": "night-shift", "name": "Night shift", "actions": ["view", "power"]})
    assert answer.status_code == 201
    shown = call(make.user()).get("roles/").json()
    assert {role["slug"] for role in shown["results"]} >= {"viewer", "auditor", "night-shift"}
    body = {"slug": "x", "name": "X", "actions": ["view"]}
    for change, field in (
        ({"actions": ["fly"]}, "actions.0"),
        ({"actions": ["power"]}, "actions"),
        ({"actions": []}, "actions"),
        ({"actions": ["view", "view"]}, "actions"),
        ({"slug": "a b"}, "slug"),
        ({"slug": "viewer"}, "slug"),
        ({"is_template": True}, "is_template"),
    ):
        problem(admin.post("roles/", body | change), 400, "invalid", field)
    problem(call(make.user()).post("roles/", body), 403, "not_allowed")
    assert not Role.objects.filter(slug="x").exists()


def test_granting_and_taking_away(estate, admin, call):
    team = make.team("web")
    user = make.user()
    caller = call(user)
    admin.post(f"teams/{team.pk}/members/", {"user": user.pk})
    end = (timezone.now() + timedelta(days=1)).isoformat()
    body = {"team": team.pk, "role": "viewer", "segment": estate.web.pk, "reason": "new team", "expires_at": end}
    answer = admin.post("grants/", body)
    assert answer.status_code == 201, answer.json()
    found = answer.json()
    assert admin.client.get(answer["Location"]).json() == found
    assert (found["team"]["name"], found["user"], found["role"], found["effect"]) == ("web", None, "viewer", "allow")
    assert (found["segment"]["name"], found["vm"], found["everything"]) == ("web", None, False)
    assert (found["author"]["username"], found["reason"]) == ("ada", "new team")
    assert caller.get("vms/").json()["count"] == 1
    assert [grant["id"] for grant in caller.get("grants/").json()["results"]] == [found["id"]]
    problem(caller.delete(f"grants/{found['id']}/"), 403, "not_allowed")
    assert admin.delete(f"grants/{found['id']}/").status_code == 204
    assert caller.get("vms/").json()["count"] == 0
    event = AuditEvent.objects.get(action=EventAction.GRANT_REVOKED)
    assert (event.actor_name, event.before["holder"]) == ("ada", "team web")


@pytest.mark.parametrize("scope", ["segment", "vm", "host", "cluster", "everything"])
def test_each_scope(estate, admin, call, scope):
    target = {"segment": estate.web, "vm": estate.vm, "host": estate.north, "cluster": estate.cluster}.get(scope)
    user = make.user()
    value = target.pk if target else True
    answer = admin.post("grants/", {"user": user.pk, "role": "viewer", scope: value, "reason": "r"})
    assert answer.status_code == 201
    grant = Grant.objects.get(pk=answer.json()["id"])
    assert (grant.holder, grant.target) == (user, target)
    caller = call(user)
    vms, hosts = caller.get("vms/").json()["count"], caller.get("hosts/").json()["count"]
    assert (vms, hosts) == {
        "segment": (1, 0), "vm": (1, 0), "host": (0, 1), "cluster": (0, 2), "everything": (2, 2)
    }[scope]  # fmt: skip


def test_a_role_by_its_id_and_a_vm_by_its_uuid(estate, admin):
    body = {"user": make.user().pk, "role": make.role("viewer").pk, "vm": str(estate.vm.uuid), "reason": "r"}
    answer = admin.post("grants/", body | {"effect": "deny"})
    assert (answer.json()["role"], answer.json()["vm"]["name"], answer.json()["effect"]) == ("viewer", "web-1", "deny")
    assert Grant.objects.latest("pk").effect == Effect.DENY


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " "}, "reason"),
        ({"everything": False}, ""),
        ({"team": "first"}, "team"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"effect": "maybe"}, "effect"),
        ({"role": True}, "role"),
        ({"role": ["viewer"]}, "role"),
        ({"disk": 1}, "disk"),
    ],
)
def test_grants_that_cannot_be(admin, change, field):
    body = {"user": make.user().pk, "role": "viewer", "everything": True, "reason": "r"} | change
    before = Grant.objects.count()
    found = problem(admin.post("grants/", body), 400, "invalid")
    assert field in [error["field"] for error in found["errors"]]
    assert Grant.objects.count() == before


def test_a_grant_has_one_holder_and_one_scope(estate, admin):
    user, team = make.user(), make.team()
    base = {"role": "viewer", "reason": "r"}
    for body in (
        {"everything": True},
        {"user": user.pk, "team": team.pk, "everything": True},
        {"user": user.pk},
        {"user": user.pk, "everything": True, "vm": estate.vm.pk},
        {"user": user.pk, "host": estate.north.pk, "vm": estate.vm.pk},
    ):
        problem(admin.post("grants/", base | body), 400, "invalid")


def test_nobody_grants_more_than_they_hold_or_where_they_may_not(estate, call):
    owner = call(make.user_with("owner", estate.web))
    mate = make.user()
    make.team("web", members=[owner.user, mate])
    body = {"user": mate.pk, "role": "maintainer", "segment": estate.web.pk, "reason": "r"}
    assert owner.post("grants/", body).status_code == 201
    problem(owner.post("grants/", body | {"role": "administrator"}), 403, "not_allowed")
    problem(owner.post("grants/", body | {"segment": estate.db.pk}), 404, "not_found", "segment")
    del body["segment"]
    problem(owner.post("grants/", body | {"everything": True}), 403, "not_allowed")
    problem(owner.post("grants/", body | {"vm": estate.foreign.pk}), 404, "not_found", "vm")
    stranger = make.user()
    hidden = problem(owner.post("grants/", body | {"user": stranger.pk, "vm": estate.vm.pk}), 404, "not_found", "user")
    missing = problem(owner.post("grants/", body | {"user": 987654, "vm": estate.vm.pk}), 404, "not_found", "user")
    assert hidden | {"request_id": ""} == missing | {"request_id": ""}
    problem(owner.post("grants/", body | {"role": "no-such", "vm": estate.vm.pk}), 404, "not_found", "role")


def test_grants_of_others_are_hidden(estate, admin, maintainer, viewer):
    foreign = make.grant(make.user(), "viewer", estate.db)
    problem(maintainer.get(f"grants/{foreign.pk}/"), 404, "not_found")
    problem(maintainer.delete(f"grants/{foreign.pk}/"), 404, "not_found")
    assert {grant["user"]["username"] for grant in viewer.get("grants/").json()["results"]} == {"vic"}
    assert viewer.get("grants/", segment=estate.db.pk).json()["count"] == 0
    assert admin.get("grants/", segment=estate.db.pk).json()["count"] == 1
    assert admin.get("grants/", role="administrator").json()["count"] == 1


def test_lists_of_people_cost_the_same_number_of_statements(estate, admin, django_assert_max_num_queries):
    team = make.team("web")
    for number in (10, 60):
        for _ in range(number):
            user = make.user()
            admin.post(f"teams/{team.pk}/members/", {"user": user.pk})
            make.grant(user, "viewer", estate.vm)
        for path in ("users/", f"teams/{team.pk}/members/", "grants/", "teams/", "roles/"):
            with django_assert_max_num_queries(4):
                assert admin.get(path, page_size=500).status_code == 200


def test_a_team_named_with_markup_is_shown_as_it_is(admin):
    name = "<b>&\"'`$(id)</b>"
    assert admin.post("teams/", {"name": name}).json()["name"] == name
    assert Team.objects.get().name == name
