"""The tool itself: it overlooks no use of the gate, what it weaves sleeps until woken, and a mutant dies of a test that
looks.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.mutants import stand_ins
from tests.mutants.explained import explanations
from tests.mutants.rules import RULES
from tests.mutants.weaving import PACKAGES, ROOT, Attribute, Loom, Mutant, Switch, mutants

#: How uses of the gate read in the code; each line that has one must have a mutant.
_USES = re.compile(
    r"gate\.(authorise|can|held_on|actions_on|reach)\(|\.visible_to\(|visible_or_404\(|seen_by\(|explain_for\("
    r"|declared_action = (Action|SIGNED_IN)|refuse_other_than_approved\(|check_rights\(|needs_approval\("
    r"|authorise_decision\(|may_decide\(|covers\("
)
#: A mutant of each kind that must be there, whatever is rewritten: a part of its name.
_KNOWN = (
    "jobs/services.py job_submit: gate.authorise(actor, kind.action, target) => nothing",
    "jobs/engine/context.py JobContext.effect: self.check_rights() => nothing",
    "jobs/approvals.py job_approve: job.requested_by_id == actor.pk => False",
    "jobs/approvals.py refuse_other_than_approved: approval.digest != digest_of_job(",
    "access/gate.py decided: {name for key in keys for name in denied.get(key, ())} => set()",
    "access/effects.py the module:",
    "access/services/grants.py grant_create: refuse_more_than_held(actor, role, target) => nothing",
    "portal/pages/vms.py VMList.get_queryset: VM.objects.visible_to(self.request.user) => VM.objects.all()",
    "portal/pages/operations.py Revert: Action.REVERT => SIGNED_IN",
    "portal/api/fields.py Reference.to_internal_value: gate.can(",
    "portal/admin/base.py Unchangeable.has_delete_permission: False => True",
    "portal/settings.py the module:",
)


@pytest.fixture(scope="module")
def found() -> list[Mutant]:
    return mutants()


def test_no_use_of_the_gate_is_overlooked(found: list[Mutant]) -> None:
    known = {(mutant.path, mutant.line) for mutant in found}
    missing = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        place = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            is_definition = line.lstrip().startswith(("def ", "#", '"""'))
            if _USES.search(line) and not is_definition and (place, number) not in known:
                missing.append(f"{place}:{number} {line.strip()}")
    assert missing == []


def test_each_rule_finds_something_and_each_mutant_has_a_name_of_its_own(found: list[Mutant]) -> None:
    assert {mutant.rule for mutant in found} == {rule.__name__ for rule in RULES}
    assert len({mutant.key for mutant in found}) == len(found) > 400
    names = "\n".join(mutant.key for mutant in found)
    assert [known for known in _KNOWN if known not in names] == []


def test_what_is_explained_exists(found: list[Mutant]) -> None:
    assert set(explanations()) - {mutant.key for mutant in found} == set()


@pytest.fixture
def woven(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], tuple[dict[str, Any], Switch, list[Mutant]]]:
    """Carries a text out as a file of the house, with its mutants."""

    def carried_out(path: str, text: str) -> tuple[dict[str, Any], Switch, list[Mutant]]:
        switch = Switch()
        attribute = type("Attribute", (Attribute,), {"switch": switch})
        monkeypatch.setattr(builtins, "__mutant__", switch, raising=False)
        monkeypatch.setattr(builtins, "__attribute__", attribute, raising=False)
        monkeypatch.setattr(builtins, "__stand_in__", stand_ins, raising=False)
        loom, space = Loom(path, ast.parse(text)), {}
        exec(compile(loom.woven, path, "exec"), space)  # noqa: S102
        return space, switch, loom.mutants

    return carried_out


def test_a_mutant_sleeps_until_it_is_woken_and_tells_who_passes_by(woven: Any) -> None:
    text = "def served(gate, user):\n    gate.authorise(user, Action.GRANT)\n    return 'done'\n"

    class Gate:
        asked: list[Any] = []

        def authorise(self, user: Any, action: Any) -> None:
            self.asked.append(action)

    class Action:
        GRANT = "grant"

    space, switch, (left_out, weakened) = woven("portal/pages/x.py", text)
    space["Action"] = Action
    assert (space["served"](Gate(), "ann"), Gate.asked) == ("done", ["grant"])
    assert switch.passed == {left_out.key, weakened.key}
    switch.awake = left_out.key
    assert (space["served"](Gate(), "ann"), Gate.asked) == ("done", ["grant"])
    switch.awake = weakened.key
    assert (space["served"](Gate(), "ann"), Gate.asked) == ("done", ["grant", "view"])


def test_a_declaration_is_woken_after_the_class_was_made(woven: Any) -> None:
    text = "SIGNED_IN = object()\nclass Page:\n    declared_action = SIGNED_IN\n"
    space, switch, (weaker,) = woven("portal/pages/x.py", text)
    assert space["Page"].declared_action is space["SIGNED_IN"]
    switch.awake = weaker.key
    assert space["Page"].declared_action is stand_ins.PUBLIC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x):\n    if x is None:\n        raise Http404\n", ["x is None => False"]),
        ("def f(x):\n    if x or y:\n        raise NotAllowed\n", ["x or y => False", "x => False", "y => False"]),
        ("def f(x):\n    if x:\n        raise ValueError\n", []),
        ("def f(user):\n    return VM.objects.visible_to(user)\n", ["VM.objects.visible_to(user) => VM.objects.all()"]),
        ("def f(held):\n    return Action.GRANT in held\n", ["Action.GRANT in held => True"]),
        ("def f(user):\n    return user.name\n", []),
    ],
)
def test_what_is_a_use_of_the_gate(text: str, expected: list[str]) -> None:
    found = Loom("portal/pages/x.py", ast.parse(text)).mutants
    assert [f"{mutant.before} => {mutant.after}" for mutant in found] == expected


def test_a_mutant_dies_of_a_test_that_looks_and_lives_where_none_does() -> None:
    cancelling = "jobs/services.py job_cancel: gate.authorise"
    looked = _run(cancelling, "tests/jobs/test_submit.py")
    assert looked.returncode == 0, looked.stdout[-2000:] + looked.stderr[-2000:]
    assert "1 mutants" in looked.stdout
    assert "killed by tests/jobs/test_submit.py::test_cancelling_needs_the_right" in looked.stdout
    missed = _run(cancelling, "tests/jobs/test_states.py")
    assert missed.returncode == 1
    assert f"SURVIVED, met by 0 tests: {cancelling}" in missed.stdout


def _run(words: str, tests: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process and a data directory of its own."""
    ours = ("SLIPWAY_", "PYTEST_", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", "tests.mutants", words, "--tests", tests]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
