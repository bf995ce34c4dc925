"""The serial console in a real browser: kept to the content policy, and good for typing."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from access.gate import SYSTEM
from access.services.grants import grant_revoke
from portal import processes
from tests import factories as make
from tests.jobs.conftest import estate
from tests.stack import Stack, free_port, until

__all__ = ["estate"]
pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


@pytest.fixture
def gateway(live_server: Any, settings: Any, tmp_path: Path, estate: Any) -> Iterator[None]:
    """The gateway, for pages of the test's server."""
    settings.BASE_URL, settings.CONSOLE_URL = live_server.url, f"ws://127.0.0.1:{free_port()}"
    policy = deepcopy(settings.CONTENT_SECURITY_POLICY)
    policy["DIRECTIVES"]["connect-src"][-1] = settings.CONSOLE_URL
    settings.CONTENT_SECURITY_POLICY = policy
    with Stack(tmp_path, {"SLIPWAY_BASE_URL": live_server.url}) as stack:
        stack.start(processes.console())
        yield


def test_somebody_types_and_sees_the_answer_until_their_right_ends(visit: Any, gateway: None, estate: Any) -> None:
    person = make.user("ada", password=PASSWORD)
    grant = make.grant(person, "operator", estate.segment)
    visitor = visit()
    visitor.sign_in("ada", PASSWORD)
    visitor.goto(f"/vms/{estate.vm.pk}/")
    visitor.page.click("text=Console")
    state, again = visitor.page.locator("#console-state"), visitor.page.locator("#console-again")

    def connected() -> bool:
        if again.is_visible():  # the gateway is still on its way up
            again.click()
        visitor.page.wait_for_timeout(100)
        return state.inner_text().startswith("Connected")

    until(connected, what="the console")
    visitor.complaints.clear()  # of a gateway that was not up yet
    visitor.page.keyboard.type("echo 4$?2\n")
    expect(visitor.page.locator("#console .xterm-rows")).to_contain_text("402")
    assert visitor.violations() == []
    assert visitor.overflow() <= 0
    grant_revoke(actor=SYSTEM, grant=grant)
    expect(state).to_have_text("Ended: Your right to this console has ended.")
    again.click()
    expect(state).to_contain_text("Refused: There is no such object.")
    assert [told for told in visitor.complaints if "404" not in told] == []
