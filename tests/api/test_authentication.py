"""Who calls: tokens, sessions, and what the record says of them."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


def test_nobody_is_let_in_without_a_token(estate, call):
    nobody = call()
    for path in ("", "vms/", f"vms/{estate.vm.pk}/", "jobs/", "audit-events/", "schema/", "me/", "no/such/place/"):
        answer = nobody.get(path)
        problem(answer, 401, "not_authenticated")
        assert answer["WWW-Authenticate"] == "Token"
    problem(nobody.post("jobs/", {}), 401, "not_authenticated")


def test_who_am_i(call):
    user = make.user("anna", full_name="Anna Berg")
    make.team("web", leads=[user])
    found = call(user).get("me/").json()
    assert (found["username"], found["full_name"]) == ("anna", "Anna Berg")
    assert [(team["name"], team["is_lead"]) for team in found["teams"]] == [("web", True)]
    assert found["token"]["id"] == AuthToken.objects.get().digest[:16]
    assert found["token"]["expires_at"] is not None


@pytest.mark.parametrize(
    "header",
    [
        "Token", "Token ", "Token x y", "Token nonsense", "Token \xff\xfe", "Bearer x", "Basic YTpi",
        "Token " + "a" * 5000, "token\x00",
    ],
)  # fmt: skip
def test_other_headers_open_nothing(header):
    answer = Client(headers={"Authorization": header}).get("/api/v1/me/")
    problem(answer, 401, "not_authenticated")


def test_a_closed_accounts_token_opens_nothing_and_says_no_more_than_a_wrong_one(call):
    user = make.user()
    caller = call(user)
    assert caller.get("me/").status_code == 200
    user.is_active = False
    user.save()
    closed = problem(caller.get("me/"), 401, "not_authenticated")
    wrong = problem(call(token="0" * 64).get("me/"), 401, "not_authenticated")
    assert closed | {"request_id": ""} == wrong | {"request_id": ""}


def test_an_ended_token_opens_nothing_and_stays_to_be_seen(call):
    caller = call(make.user())
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    problem(caller.get("me/"), 401, "not_authenticated")
    assert AuthToken.objects.count() == 1


def test_a_revoked_token_opens_nothing(call):
    caller = call(make.user())
    AuthToken.objects.all().delete()
    problem(caller.get("me/"), 401, "not_authenticated")


def test_reading_a_token_takes_one_statement(call, django_assert_num_queries):
    caller = call(make.user())
    for _ in range(5):
        make.token(caller.user)
    with django_assert_num_queries(2):  # the token with its user; the teams
        caller.get("me/")


def test_the_record_names_the_person_the_door_and_the_token(estate, admin):
    answer = admin.post("segments/", {"name": "new"})
    event = AuditEvent.objects.get(action=EventAction.SEGMENT_CREATED)
    assert (event.actor_name, event.actor_id, event.actor_kind) == ("ada", str(admin.user.pk), "user")
    assert (event.via, event.source_address) == ("api", "127.0.0.1")
    assert event.token_id == AuthToken.objects.get().digest[:16]
    assert event.request_id == answer["X-Request-ID"]
    assert event.on_behalf_of_name == ""


def test_a_refusal_is_recorded_in_the_same_way(estate, viewer):
    answer = viewer.submit(estate.vm)
    problem(answer, 403, "not_allowed")
    event = AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED)
    assert (event.actor_name, event.via, event.outcome) == ("vic", "api", "refused")
    assert event.token_id == AuthToken.objects.get(user=viewer.user).digest[:16]
    assert (event.object_name, event.request_id) == ("web-1", answer["X-Request-ID"])
    assert event.detail == {"action": "snapshot", "answer": "not_allowed"}


def test_one_request_does_not_lend_its_person_to_the_next(estate, admin, viewer):
    admin.post("segments/", {"name": "one"})
    viewer.submit(estate.vm)
    admin.post("segments/", {"name": "two"})
    assert list(AuditEvent.objects.order_by("id").values_list("actor_name", flat=True))[-3:] == ["ada", "vic", "ada"]


def test_the_portals_session_opens_the_api_and_needs_the_csrf_token_to_change_something(estate):
    user = make.user_with("administrator", username="boss")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    assert browser.get("/api/v1/me/").json()["token"] is None
    body = {"data": '{"name": "from the portal"}', "content_type": "application/json"}
    problem(browser.post("/api/v1/segments/", **body), 403, "csrf_failed")
    browser.cookies["csrftoken"] = "a" * 32
    answer = browser.post("/api/v1/segments/", **body, headers={"X-CSRFToken": "a" * 32})
    assert answer.status_code == 201
    event = AuditEvent.objects.get(action=EventAction.SEGMENT_CREATED)
    assert (event.actor_name, event.via, event.token_id) == ("boss", "api", "")


def test_a_token_needs_no_csrf_token(admin):
    token = make.token(admin.user)
    strict = Client(enforce_csrf_checks=True, headers={"Authorization": f"Token {token}"})
    answer = strict.post("/api/v1/segments/", '{"name": "x"}', content_type="application/json")
    assert answer.status_code == 201


def test_the_command_prints_just_a_token_that_works_and_is_recorded():
    user = make.user("robot")
    printed = io.StringIO()
    call_command("token_create", "robot", "--days", "2", stdout=printed)
    text = printed.getvalue()
    assert text == text.strip() + "\n"
    assert Caller(token=text.strip()).get("me/").json()["username"] == "robot"
    row = AuthToken.objects.get()
    assert timedelta(days=1, hours=23) < row.expiry - timezone.now() <= timedelta(days=2)
    event = AuditEvent.objects.get(action=EventAction.TOKEN_CREATED)
    assert (event.object_type, event.object_id, event.via) == ("user", str(user.pk), "cli")
    assert event.after["token_id"] == row.digest[:16]
    assert text.strip() not in str(vars(event))


@pytest.mark.parametrize("arguments", [["nobody"], ["robot", "--days", "0"], ["robot", "--days", "99999"], ["closed"]])
def test_the_command_refuses(arguments):
    make.user("robot")
    make.user("closed", is_active=False)
    with pytest.raises(CommandError):
        call_command("token_create", *arguments)
    assert not AuthToken.objects.exists()
