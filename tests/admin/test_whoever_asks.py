"""The site's own answers, asked directly: Django would act by them wherever an address forgot its guard."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from access.models import Effect, User
from inventory.models import Sighting
from jobs.models import Step
from jobs.states import State
from portal.admin.site import auditors
from tests import factories as make

pytestmark = pytest.mark.django_db


def asked_by(user: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = user
    return request


def nouns(request: Any) -> list[Any]:
    """Every noun of the site, and what is shown on its pages."""
    found: list[Any] = list(auditors._registry.values())
    return found + [inline for noun in found for inline in noun.get_inline_instances(request)]


@pytest.mark.parametrize("role", ["auditor", "administrator"])
def test_nobody_adds_changes_or_deletes(role: str) -> None:
    request = asked_by(make.user_with(role))
    for noun in nouns(request):
        assert not noun.has_add_permission(request)
        assert not noun.has_change_permission(request)
        assert not noun.has_delete_permission(request)


@pytest.mark.parametrize(("role", "looks"), [("auditor", True), ("administrator", True), ("viewer", False)])
def test_only_who_reads_the_record_looks(role: str, looks: bool) -> None:
    nouns_of = nouns(asked_by(make.user_with("auditor")))
    request = asked_by(make.user_with(role))
    assert auditors.has_permission(request) is looks
    for noun in nouns_of:
        assert noun.has_view_permission(request) is looks
        assert noun.has_module_permission(request) is looks


def test_an_auditor_who_is_denied_something_sees_nothing_under_it() -> None:
    auditor, host, segment = make.user_with("auditor"), make.host(), make.segment()
    vm = make.vm(segment=segment, host=host)
    job = make.job(vm, by=make.user(), state=State.FAILED)
    Step.objects.create(job=job, position=1, phase="execute", name="save", title="Save", started_at=vm.observed_at)
    request = asked_by(auditor)
    assert auditors._registry[Step].get_queryset(request).exists()
    assert auditors._registry[Sighting].get_queryset(request).exists()
    make.grant(auditor, "viewer", segment, effect=Effect.DENY)
    make.grant(auditor, "viewer", host, effect=Effect.DENY)
    assert not auditors._registry[Step].get_queryset(request).exists()
    assert not auditors._registry[Sighting].get_queryset(request).exists()
