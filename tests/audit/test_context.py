"""Who is acting: nested, per thread, and carried along only on purpose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from threading import Barrier

import pytest
from django.contrib.auth.models import AnonymousUser

from access.gate import SYSTEM
from access.models import User
from audit.context import Context, acting, acting_as, carry, current


def test_where_nothing_was_set_slipway_itself_acts() -> None:
    assert current() == Context(actor_id="", actor_name="system", actor_kind="system", via="system")


def test_contexts_nest_and_end_even_on_an_exception() -> None:
    with acting(actor_name="ines", actor_kind="user", request_id="r1"):
        with acting(job_id="41"):
            assert (current().actor_name, current().request_id, current().job_id) == ("ines", "r1", "41")
        with pytest.raises(ZeroDivisionError), acting(job_id="42"):
            _ = 1 / 0
        assert current().job_id == ""
        assert current().actor_name == "ines"
    assert current() == Context()


def test_a_user_acts_under_their_own_name_with_no_token_of_somebody_else() -> None:
    before = acting_as(User(pk=1, username="ines"), via="api", token_id="9", source_address="192.0.2.7")
    with before, acting_as(User(pk=2, username="omar"), via="job", job_id="41") as context:
        assert (context.actor_id, context.actor_name, context.actor_kind) == ("2", "omar", "user")
        assert (context.via, context.job_id, context.token_id) == ("job", "41", "")
        assert context.source_address == "192.0.2.7"


@pytest.mark.parametrize(
    ("user", "kind", "name"),
    [(None, "anonymous", ""), (AnonymousUser(), "anonymous", ""), (SYSTEM, "system", "system")],
)
def test_who_is_no_person_has_no_id(user: object, kind: str, name: str) -> None:
    with acting_as(user, via="web") as context:
        assert (context.actor_kind, context.actor_id, context.actor_name) == (kind, "", name)


def test_a_context_cannot_be_changed_in_place_nor_misspelt() -> None:
    with pytest.raises(FrozenInstanceError):
        current().actor_name = "ines"  # type: ignore[misc]
    with pytest.raises(TypeError), acting(actr_name="ines"):
        pass
    with pytest.raises(ValueError, match="door"), acting(via="window"):
        pass
    with pytest.raises(ValueError, match="kind of actor"), acting(actor_kind="robot"):
        pass


def test_a_thread_knows_the_context_only_when_it_was_carried_there() -> None:
    together = Barrier(2, timeout=30)

    def name() -> str:
        together.wait()  # both calls are inside at once
        return current().actor_name

    with ThreadPoolExecutor(2) as pool:
        with acting(actor_name="ines"):
            carried = carry(name)
            plain = [pool.submit(name) for _ in range(2)]
            assert [future.result() for future in plain] == ["system", "system"]
        later = [pool.submit(carried) for _ in range(2)]
        assert [future.result() for future in later] == ["ines", "ines"]


def test_what_carried_code_sets_does_not_leak_back() -> None:
    def set_for_itself() -> None:
        with acting(actor_name="omar"):
            assert current().actor_name == "omar"

    carry(set_for_itself)()
    assert current().actor_name == "system"
