"""Explanations and previews over the API."""

from __future__ import annotations

import pytest

from access.models import Grant, Membership
from tests import factories as make
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(estate):
    return Caller(make.user_with("owner", estate.web))


def test_one_may_ask_about_oneself(estate):
    anna = make.user_with("operator", estate.web, username="anna")
    answer = Caller(anna).get("access/explain/", action="power", vm=estate.vm.pk)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["user"]["username"], body["allowed"]) == ("anna", True)
    assert body["links"][0]["grant"]["role"] == "operator"
    assert Caller(anna).get("access/explain/", action="revert", vm=estate.vm.pk).json()["allowed"] is False


def test_about_others_only_who_grants_there_or_audits(estate, owner):
    anna = make.user_with("viewer", estate.web)
    team = make.team(members=[anna, owner.user])  # team mates see each other
    question = {"action": "revert", "vm": estate.vm.pk, "user": owner.user.pk}
    assert Caller(anna).get("access/explain/", **question).status_code == 403
    assert owner.get("access/explain/", **(question | {"user": anna.pk})).json()["allowed"] is False
    auditor = Caller(make.user_with("auditor"))
    assert auditor.get("access/explain/", **question).json()["allowed"] is True
    assert team.pk


def test_what_is_not_seen_is_not_explained(estate, owner):
    answer = owner.get("access/explain/", action="view", vm=estate.foreign.pk)
    nothing = owner.get("access/explain/", action="view", vm=999_999)
    assert (answer.status_code, nothing.status_code) == (404, 404)
    assert estate.foreign.name.encode() not in answer.content


@pytest.mark.parametrize(
    "query", [{}, {"action": "fly"}, {"action": "view", "vm": "x"}, {"action": "view", "who": "me"}]
)
def test_a_malformed_question_is_a_400(owner, query):
    assert owner.get("access/explain/", **query).status_code == 400


def test_a_question_names_one_object(estate, owner):
    query = {"action": "view", "vm": estate.vm.pk, "segment": estate.web.pk}
    assert owner.get("access/explain/", **query).status_code == 400


def test_a_preview_of_a_grant_gives_nothing(estate, owner):
    anna = make.user()
    make.team(members=[anna, owner.user])
    body = {"give": {"user": anna.pk, "role": "operator", "segment": estate.web.pk, "reason": "a try"}}
    answer = owner.post("access/preview/", body)
    assert answer.status_code == 200, answer.content
    shown = {(row["kind"].lower(), row["target"]["name"]): row["gained"] for row in answer.json()}
    assert "power" in shown["vm", estate.vm.name]
    assert not Grant.objects.filter(user=anna).exists()


def test_a_preview_of_a_revocation_takes_nothing(estate, owner):
    anna = make.user()
    grant = make.grant(anna, "operator", estate.web)
    answer = owner.post("access/preview/", {"revoke": grant.pk})
    assert {row["target"]["name"] for row in answer.json()} >= {estate.vm.name}
    assert all("power" in row["lost"] for row in answer.json())
    assert Grant.objects.filter(pk=grant.pk).exists()


def test_a_preview_of_joining_is_for_the_lead(estate):
    lead, anna, mate = make.user(), make.user(), make.user()
    team = make.team(members=[mate], leads=[lead])
    make.grant(team, "operator", estate.web)
    make.team(members=[lead, mate, anna])
    body = {"join": {"team": team.pk, "user": anna.pk}}
    assert "power" in Caller(lead).post("access/preview/", body).json()[0]["gained"]
    assert Caller(mate).post("access/preview/", body).status_code == 403
    assert not Membership.objects.filter(team=team, user=anna).exists()


@pytest.mark.parametrize("body", [{}, {"join": {}}, {"give": None}, {"revoke": "x"}, {"fly": 1}])
def test_a_malformed_preview_is_a_400(owner, body):
    assert owner.post("access/preview/", body).status_code == 400
