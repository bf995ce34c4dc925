"""The auditors' panel in a real browser: who may do what on hosts and clusters, and what the past leaves out."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from access.gate import SYSTEM
from access.services.grants import grant_revoke
from inventory.services.hosts import host_delete
from tests import factories as make
from tests.browser.conftest import Visitor
from tests.browser.test_pages import PASSWORD

pytestmark = pytest.mark.browser


def ask(auditor: Visitor, kind: str, at: str = "") -> None:
    """Fill in the form as a person does."""
    auditor.page.select_option("#id_kind", label=kind)
    auditor.page.fill("#id_at", at)
    auditor.page.click("input[type=submit][value=Show]")


def test_who_may_do_what_on_hosts_and_clusters_now_and_then(visit: Any) -> None:
    cluster = make.cluster("baltic")
    host, gone = make.host("north-1", cluster=cluster), make.host("south-1", cluster=cluster)
    make.grant(make.user("ada", password=PASSWORD), "auditor")
    held = make.grant(make.user("otto"), "platform-operator", cluster)
    make.grant(make.user("vera"), "viewer", host)

    auditor: Visitor = visit()
    auditor.sign_in("ada", PASSWORD)
    auditor.goto(reverse("admin:access_matrix"))
    table = auditor.page.get_by_role("region", name="Who may do what")

    ask(auditor, "Clusters")
    expect(table).to_contain_text("baltic")
    expect(table).to_contain_text("otto")
    expect(table).not_to_contain_text("vera")

    ask(auditor, "Hosts")
    for words in ("north-1", "south-1", "in cluster baltic", "otto", "vera"):
        expect(table).to_contain_text(words)
    assert auditor.violations() == []
    then = timezone.now().astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    grant_revoke(actor=SYSTEM, grant=held)
    host_delete(actor=SYSTEM, host=gone)
    ask(auditor, "Hosts")
    expect(table).to_contain_text("vera")
    expect(table).not_to_contain_text("otto")

    ask(auditor, "Hosts", then)
    expect(table).to_contain_text("otto")
    expect(table).not_to_contain_text("south-1")
    expect(auditor.page.get_by_text("What was removed since is not among them")).to_be_visible()
    assert auditor.violations() == []
    assert auditor.complaints == []
