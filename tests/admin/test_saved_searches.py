"""Saved searches: kept, shared and deleted by auditors, each for themselves, and all of it in the record."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from access.errors import NotAllowed
from access.gate import SYSTEM
from access.models import Effect
from access.services.people import user_deactivate
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from portal.admin import searches
from portal.models import SavedSearch
from tests import factories as make

pytestmark = pytest.mark.django_db

LIST = "/admin/audit/auditevent/"
HOSTILE = '<script>alert(1)</script>" onmouseover="x'


def signed_in(username: str) -> Client:
    client = Client()
    client.force_login(make.user_with("auditor", username=username))
    return client


@pytest.fixture
def ada() -> Client:
    return signed_in("ada")


@pytest.fixture
def bo() -> Client:
    return signed_in("bo")


def save(client: Client, name: str, query: str = "outcome=refused&who=eve", **more: str):
    return client.post(f"{LIST}searches/save/", {"name": name, "query": query, **more}, follow=True)


def texts(answer) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_a_search_is_saved_opened_and_deleted_on_the_record(ada):
    answer = save(ada, "Refusals of Eve")
    assert texts(answer) == ["The search “Refusals of Eve” is saved."]
    search = SavedSearch.objects.get()
    assert (search.query, search.is_shared) == ({"outcome": "refused", "who": "eve"}, False)
    event = AuditEvent.objects.get(action=EventAction.SEARCH_SAVED)
    assert (event.actor_name, event.object_type, event.object_name) == ("ada", "search", "Refusals of Eve")
    assert event.after == {"query": {"outcome": "refused", "who": "eve"}, "is_shared": False}
    assert f'href="{LIST}?who=eve&amp;outcome=refused"' in ada.get(LIST).content.decode()
    ada.get(f"{LIST}?{search.as_address}")
    assert AuditEvent.objects.filter(action=EventAction.AUDIT_READ)[0].detail["query"] == search.query
    answer = ada.post(f"{LIST}searches/{search.pk}/forget/", follow=True)
    assert texts(answer) == ["The search “Refusals of Eve” is deleted."]
    assert not SavedSearch.objects.exists()
    event = AuditEvent.objects.get(action=EventAction.SEARCH_DELETED)
    assert event.before == {"query": {"outcome": "refused", "who": "eve"}, "is_shared": False}


def test_a_private_search_is_nobody_elses(ada, bo):
    save(ada, "private-one")
    search = SavedSearch.objects.get()
    answer = bo.get(LIST)
    assert (answer.context["searches"], answer.context["own_searches"], answer.context["shared_searches"]) == (
        0,
        [],
        [],
    )
    assert search.as_address.replace("&", "&amp;") not in answer.content.decode()
    assert bo.post(f"{LIST}searches/{search.pk}/forget/").status_code == 404
    assert SavedSearch.objects.exists()


def test_a_shared_search_is_opened_by_all_and_deleted_by_its_owner(ada, bo):
    save(ada, "for-all", shared="on")
    search = SavedSearch.objects.get()
    text = bo.get(LIST).content.decode()
    assert "for-all" in text
    assert "shared by ada" in text
    assert f"searches/{search.pk}/forget" not in text
    assert bo.post(f"{LIST}searches/{search.pk}/forget/").status_code == 403
    assert AuditEvent.objects.filter(
        action=EventAction.ACCESS_REFUSED, actor_name="bo", outcome=Outcome.REFUSED
    ).exists()
    assert SavedSearch.objects.exists()
    assert ada.post(f"{LIST}searches/{search.pk}/forget/").status_code == 302
    assert not SavedSearch.objects.exists()


@pytest.mark.parametrize(
    ("name", "query", "sentence"),
    [
        ("", "who=eve", "Give the search a name."),
        (" \t ", "who=eve", "Give the search a name."),
        ("nothing", "", "Narrow the list first"),
        ("nothing", "who=&p=3&csrfmiddlewaretoken=x", "Narrow the list first"),
        ("odd", "since=yesterday", "make no sense"),
        ("odd", "action=no.such", "make no sense"),
        ("odd", "who=" + "x" * 300, "make no sense"),
    ],
)
def test_what_makes_no_sense_is_not_saved(ada, name, query, sentence):
    assert any(sentence in text for text in texts(save(ada, name, query)))
    assert not SavedSearch.objects.exists()
    assert not AuditEvent.objects.filter(action=EventAction.SEARCH_SAVED).exists()


def test_a_name_is_taken_once_by_each(ada, bo):
    save(ada, "same")
    assert texts(save(ada, "same", "who=bo")) == ["You have a search named “same” already."]
    save(bo, "same")
    assert SavedSearch.objects.count() == 2
    assert SavedSearch.objects.get(owner__username="ada").query["who"] == "eve"


def test_nobody_fills_the_database_with_searches(ada, monkeypatch):
    monkeypatch.setattr(searches, "MOST", 2)
    for name in "abc":
        answer = save(ada, name)
    assert texts(answer) == ["You keep 2 searches already; delete one first."]
    assert SavedSearch.objects.count() == 2


@pytest.mark.parametrize(
    "name",
    [HOSTILE, "{{ 7|add:7 }}{% debug %}", "'; DROP TABLE x; --", "a" * 500, "\u202egnp.exe", "a\x00b\nc"],
)
def test_a_hostile_name_is_only_a_name(ada, bo, name):
    answer = save(ada, name, shared="on")
    assert answer.status_code == 200
    search = SavedSearch.objects.get()
    assert len(search.name) <= 100
    assert search.name.isprintable()
    for client in (ada, bo):
        text = client.get(LIST).content.decode()
        assert "<script>alert" not in text
        assert 'onmouseover="x' not in text
        assert "\u202e" not in text
    assert AuditEvent.objects.get(action=EventAction.SEARCH_SAVED).object_name == search.name


def test_a_hostile_query_leads_nowhere_else(ada):
    answer = save(
        ada, "out", "who=eve&next=//evil.example/&q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&password__startswith=a"
    )
    last, _status = answer.redirect_chain[-1]
    assert urlsplit(last).path == LIST
    assert set(parse_qs(urlsplit(last).query)) == {"who", "q"}
    assert SavedSearch.objects.get().query == {"who": "eve", "q": '"><script>alert(1)</script>'}
    assert "<script>alert" not in ada.get(LIST).content.decode()


def test_nothing_is_done_without_the_token_of_the_form(ada):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.cookies
    assert strict.post(f"{LIST}searches/save/", {"name": "x", "query": "who=eve"}).status_code == 403
    assert not SavedSearch.objects.exists()


def test_who_is_no_auditor_any_more_has_none(ada, bo):
    save(ada, "for-all", shared="on")
    make.grant(SavedSearch.objects.get().owner, make.role_of("read_audit"), effect=Effect.DENY)
    assert save(ada, "another").status_code == 403
    user_deactivate(actor=SYSTEM, user=SavedSearch.objects.get().owner)
    assert "for-all" in bo.get(LIST).content.decode()


@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_who_does_not_read_the_record_keeps_no_search_of_it(ada, role):
    person = make.user_with(role)
    with pytest.raises(NotAllowed):
        searches.search_save(actor=person, name="mine", query={"q": "vera"}, shared=False)
    kept = SavedSearch.objects.create(owner=person, name="from before", query={"q": "vera"})
    with pytest.raises(NotAllowed):
        searches.search_delete(actor=person, search=kept)
    assert list(SavedSearch.objects.all()) == [kept]
