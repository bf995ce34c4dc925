"""The door: what is said, what is recorded, and where it leads."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.models import User
from audit.events import EventAction
from audit.models import AuditEvent
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, browser, seen

PASSWORD = "correct horse battery"


@pytest.fixture
def vera(db: None) -> User:
    return make.user("vera", password=PASSWORD)


def sign_in(client: Client, username: str, password: str, next_page: str = "") -> Any:
    return client.post(reverse("sign-in"), {"username": username, "password": password, "next": next_page})


def recorded() -> list[tuple[str, str, str]]:
    return list(AuditEvent.objects.order_by("id").values_list("action", "outcome", "actor_name"))


def test_signing_in_and_out_is_recorded(vera: User) -> None:
    client = browser()
    assert sign_in(client, "vera", PASSWORD)["Location"] == reverse("dashboard")
    assert client.get(reverse("dashboard")).status_code == 200
    assert client.post(reverse("sign-out"))["Location"] == reverse("sign-in")
    assert client.get(reverse("dashboard")).status_code == 302
    assert recorded() == [
        (EventAction.USER_SIGNED_IN, "ok", "vera"),
        (EventAction.USER_SIGNED_OUT, "ok", "vera"),
    ]


@pytest.mark.parametrize(
    ("username", "password"), [("vera", "wrong"), ("nobody", "wrong"), ("closed", PASSWORD)], ids=str
)
def test_every_failure_says_the_same_and_is_recorded(vera: User, username: str, password: str) -> None:
    make.user("closed", password=PASSWORD, is_active=False)
    answer = sign_in(browser(), username, password)
    assert answer.status_code == 400
    assert "That user name and password do not go together." in seen(answer).text
    event = AuditEvent.objects.get()
    assert (event.action, event.outcome, event.actor_kind) == (EventAction.USER_SIGN_IN_FAILED, "failed", "anonymous")
    assert event.detail == {"username": username, "locked_out": False}


def test_too_many_failures_lock_this_account_here_and_no_other(vera: User) -> None:
    make.user("olaf", password=PASSWORD)
    client = browser()
    answers = [sign_in(client, "vera", "wrong").status_code for _ in range(8)]
    assert answers[-1] == 429
    locked = sign_in(client, "vera", PASSWORD)
    assert (locked.status_code, "Too many attempts" in seen(locked).text) == (429, True)
    assert sign_in(client, "olaf", PASSWORD).status_code == 302


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/vms/?q=a", "/vms/?q=a"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_next_leads_nowhere_else(vera: User, wanted: str, reached: str) -> None:
    assert sign_in(browser(), "vera", PASSWORD, wanted)["Location"] == reached


def test_signing_out_needs_a_post_with_its_token(vera: User) -> None:
    client = browser(vera, enforce_csrf_checks=True)
    assert client.get(reverse("sign-out")).status_code == 405
    assert client.post(reverse("sign-out")).status_code == 403
    assert client.get(reverse("dashboard")).status_code == 200


def test_who_is_signed_in_is_led_on(vera: User) -> None:
    assert browser(vera).get(reverse("sign-in"))["Location"] == reverse("dashboard")


@pytest.mark.parametrize(
    ("page", "leads_to"),
    [
        ("http://testserver/vms/3/?tab=1", "/sign-in/?next=%2Fvms%2F3%2F%3Ftab%3D1"),
        ("https://elsewhere.example/x", "/sign-in/"),
        ("", "/sign-in/"),
    ],
)
def test_a_live_region_whose_session_ended_takes_the_whole_page_to_the_door(
    estate: Estate, page: str, leads_to: str
) -> None:
    nobody = browser()
    answer = nobody.get(reverse("vm-busy", args=[estate.vm.pk]), headers=HTMX | {"HX-Current-URL": page}, follow=True)
    assert answer["HX-Redirect"] == leads_to
    assert answer.content == b""
