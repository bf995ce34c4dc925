"""The auditors' site and the API's page in a real browser, under the strict content security policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import sync_playwright

from portal.admin.site import auditors
from tests import factories as make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


class Watched:
    """A browser's page, signed in, and what its console complained of."""

    def __init__(self, page: Any, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: Any) -> None:
        # A browser asks for a favicon of its own accord.
        if message.type in ("error", "warning") and "favicon" not in str(message.location):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, path: str) -> Any:
        answer = self.page.goto(self.base + path)
        assert answer.status == 200, path
        return self.page


@pytest.fixture
def browser(live_server: Any) -> Iterator[Watched]:
    """Signed in as one who holds every action. (Everything in the database is made before the browser starts.)"""
    segment, host = make.segment("web"), make.host("north")
    person = make.user_with("administrator", username="ada")
    vm = make.vm("web-1", segment=segment, host=host)
    make.nic(vm, "net-b", foreign_segment=segment)
    make.snapshot(vm, "installed", baseline=True)
    make.job(vm, by=person)
    make.team("web", members=[person])
    client = Client()
    client.force_login(person)
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": live_server.url,
    }
    with sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = chromium.new_context()
        context.add_cookies([cookie])
        yield Watched(context.new_page(), live_server.url)
        chromium.close()


def test_every_list_and_a_page_of_each_noun(browser):
    browser.open("/admin/")
    shown = browser.page.locator("#content-main .module th a")
    lists = [link.get_attribute("href") for link in shown.all()]
    assert len(lists) == len(auditors._registry)
    opened = 0
    for path in lists:
        page = browser.open(path)
        link = page.locator("#result_list tbody a").first
        if link.count():
            browser.open(link.get_attribute("href"))
            assert page.locator(".object-tools").inner_text().lower() == "in the record"
            opened += 1
    assert opened >= 12
    assert browser.complaints == []


def test_the_record_is_narrowed_and_printed(browser):
    page = browser.open("/admin/audit/auditevent/")
    page.fill("#id_object_name", "web-1")
    page.click("form.narrow input[type=submit]")
    assert "object_name=web-1" in page.url
    assert page.input_value("#id_object_name") == "web-1"
    page.click("text=Evidence to print")
    assert "object_name = web-1" in page.inner_text("dl")
    assert page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
    assert browser.complaints == []


def test_the_access_matrix_leads_to_its_reasons(browser):
    page = browser.open("/admin/")
    page.click("#user-tools >> text=Who may do what")
    page.fill("#id_name", "web-1")
    page.click("form.ask input[type=submit]")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("td a[title^='ada: Patch, yes']")
    assert page.inner_text(".verdict").startswith("ada held “Patch” on web-1: administrator on everything")
    assert browser.complaints == []


def test_a_search_is_kept_and_opened(browser):
    page = browser.open("/admin/audit/auditevent/?object_name=web-1")
    page.fill("#search-name", "About web-1")
    page.click(".save-search input[type=submit]")
    assert "is saved" in page.inner_text(".messagelist")
    browser.open("/admin/audit/auditevent/")
    page.click(".searches summary")
    page.click(".searches >> text=About web-1")
    assert page.input_value("#id_object_name") == "web-1"
    page.click("button:has-text('Delete')")
    assert "is deleted" in page.inner_text(".messagelist")
    assert browser.complaints == []


def test_the_apis_page_describes_and_tries(browser):
    page = browser.open("/api/v1/docs/")
    page.wait_for_selector(".opblock", timeout=30_000)
    operation = page.locator("#operations-clusters-clusters_create")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    operation.locator("textarea").fill('{"name": "tried"}')
    with page.expect_response("**/api/v1/clusters/") as waiting:
        operation.locator(".execute").click()
    assert waiting.value.status == 201
    assert browser.complaints == []


def test_the_watch_hears_of_what_the_policy_forbids(browser):
    page = browser.open("/admin/")
    page.evaluate("document.body.appendChild(document.createElement('script')).textContent = 'window.ran = 1'")
    assert page.evaluate("window.ran") is None
    page.wait_for_function("() => true")
    assert "Content Security Policy" in browser.complaints[0]
