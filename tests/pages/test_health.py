"""Alive, ready, and the pages for what went wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from tests.pages.conftest import Estate, browser, seen


def test_alive_asks_nothing_of_the_database(client: Client, django_assert_num_queries: Any, db: None) -> None:
    with django_assert_num_queries(0):
        answer = client.get(reverse("healthz"))
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_ready_when_the_database_answers(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get(reverse("readyz")).status_code == 200

    def gone() -> Any:
        raise DatabaseError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", gone)
        answer = client.get(reverse("readyz"))
    assert answer.status_code == 503
    assert b"gone" not in answer.content


def test_an_address_that_is_not_there(estate: Estate, viewer: Client) -> None:
    for client in (browser(), viewer):
        answer = client.get("/no-such-page/")
        assert (answer.status_code, "There is no such page." in seen(answer).text) == (404, True)


@pytest.mark.parametrize("name", ["400.html", "403.html", "500.html"])
def test_pages_for_errors_need_no_request(name: str) -> None:
    assert "Slipway" in render_to_string(name)


def test_policy_and_headers_of_a_page(viewer: Client) -> None:
    answer = viewer.get(reverse("dashboard"))
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'nonce="{nonce}"' in answer.content.decode()
    assert answer["X-Frame-Options"] == "DENY"
