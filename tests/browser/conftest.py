"""A real browser in front of a real server: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

AXE = Path(__file__).parents[1] / "vendor" / "axe-core-4.14.1" / "axe.min.js"
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests. Its event loop is in this thread, which Django takes for asynchronous code."""
    if CHROMIUM is None:
        pytest.fail("Chromium is not installed; run script/test, which installs it, or leave tests/browser out.")
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Visitor:
    """Somebody with a browser. What the browser complains about is kept."""

    page: Page
    context: BrowserContext
    site: str
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Keep errors and warnings of the console, script errors, and requests that failed for no reason of ours."""
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def goto(self, path: str) -> Any:
        return self.page.goto(f"{self.site}{path}")

    def sign_in(self, username: str, password: str) -> None:
        self.goto("/sign-in/")
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"{self.site}/")

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical on the page as it is now."""
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{self.page.url}: {violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )


@pytest.fixture
def visit(chromium: Browser, live_server: Any, transactional_db: None) -> Iterator[Any]:
    """Opens browser windows: `visit(width=390, scheme="dark")`."""
    opened: list[BrowserContext] = []

    def open_window(*, width: int = 1440, scheme: Any = "light", javascript: bool = True) -> Visitor:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript
        )
        context.set_default_timeout(15_000)
        if javascript:
            context.add_init_script(path=AXE)  # the browser's own door: the page's policy would refuse a script tag
        opened.append(context)
        visitor = Visitor(context.new_page(), context, live_server.url)
        visitor.listen()
        return visitor

    yield open_window
    for context in opened:
        with suppress(Error):
            context.close()
