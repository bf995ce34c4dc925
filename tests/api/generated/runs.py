"""The runs: each case is sent as everybody, and every answer is held against what must hold for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks as openapi

from tests.access.matrix.asking import kept, undone
from tests.access.matrix.notation import PEOPLE
from tests.access.matrix.people import Person
from tests.access.matrix.walk import Keeper, stage
from tests.access.matrix.world import World
from tests.api.generated.asking import Asked, GeneratedDoor, callers
from tests.api.generated.cases import description, edges, grounded, operations

#: What an answer must be, as Schemathesis checks it against the description.
CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
#: Who can change nothing, whatever they send.
POWERLESS = frozenset({"nobody", "closed account", "ended token", "no team", "ended grant"})

#: How often scenarios are begun anew.
MOST_ATTEMPTS = 10


@dataclass
class Run:
    """What came of it. A finding names the operation, the caller, what is wrong, and a case that shows it."""

    cases: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    findings: dict[tuple[str, str, str], str] = field(default_factory=dict)
    #: Operations that answered somebody with what they are for.
    served: set[str] = field(default_factory=set)
    #: Operations that Schemathesis can send nothing wrong to.
    unbreakable: set[str] = field(default_factory=set)


class Judge:
    """Holds answers against what must hold for all of them."""

    def __init__(self, run: Run) -> None:
        self._run, self._keeper = run, Keeper()

    def judge(self, name: str, person: Person, case: schemathesis.Case, asked: Asked) -> None:
        """Note what is wrong with an answer."""
        label, status = case.operation.label, asked.answer.status
        self._run.answers[name] += 1
        self._run.outcomes[label, status] += 1
        if 200 <= status < 300:
            self._run.served.add(label)
        for sentence in self._wrong(name, person, case, asked):
            kind = sentence.partition(":")[0]
            self._run.findings.setdefault(
                (label, name, kind), f"{label}, {name}: {sentence} [{status}] {asked.answer.asked} {asked.answer.error}"
            )

    def _wrong(self, name: str, person: Person, case: schemathesis.Case, asked: Asked) -> Iterator[str]:
        try:
            case.validate_response(asked.response, checks=CHECKS)
        except FailureGroup as group:
            yield from (f"{error.title}: {error.message}" for error in group.exceptions if isinstance(error, Failure))
        if person.letter in PEOPLE:
            _seen, leaked = self._keeper.leaks(person, asked.answer, is_page=False)
            yield from (f"names what its reader may not know: {word}" for word in sorted(leaked))
        status, method = asked.answer.status, case.operation.method.upper()
        if asked.changed and (name in POWERLESS or method == "GET" or status >= 400):
            yield f"changed something: {', '.join(asked.changed)}"
        told = {event for event in asked.events if event != ("access.refused", "refused")}
        if told and (name in POWERLESS or status >= 400):
            yield f"recorded something: {told}"


@contextmanager
def running() -> Iterator[tuple[Run, World, dict[str, Person], Callable[[schemathesis.Case], None]]]:
    """A world, its callers, and a function that sends a case as all of them."""
    run = Run()
    judge = Judge(run)
    with stage() as (world, people, _door):
        who = callers(world, people)
        door = GeneratedDoor()

        def send(case: schemathesis.Case) -> None:
            run.cases[case.operation.label] += 1
            for name, person in who.items():
                judge.judge(name, person, case, door.ask(person, case))

        yield run, world, who, send


def generated(examples: int, *, with_edges: bool, schema: Any = None) -> Run:
    """Send `examples` valid and as many broken cases of each operation; with edges, Schemathesis' boundaries too."""
    schema = schema or description()
    with running() as (run, world, _who, send):
        for operation in operations(schema):
            for mode in GenerationMode:
                test = given(grounded(operation, mode, world))(lambda case: send(case))
                try:
                    _often(test, examples)()
                except Unsatisfiable:
                    run.unbreakable.add(operation.label)
            if with_edges:
                for case in edges(schema, operation):
                    send(case)
    return run


def leads_nowhere(case: schemathesis.Case) -> bool:
    """Whether a link was followed from what was null: without its id, the address is another operation's."""
    return any(value in (None, "") for value in (case.path_parameters or {}).values())


def linked(scenarios: int, steps: int, name: str) -> Run:
    """Follow the links that Schemathesis finds in the description (make a thing, read it, remove it), as one caller.

    What a step does stays for the steps after it, and is undone with its scenario.
    """
    schema = description()
    with running() as (run, _world, who, _send):
        judge = Judge(run)

        class Scenario(schema.as_state_machine()):  # type: ignore[misc]  # made by Schemathesis
            def setup(self) -> None:
                self.scene = undone()
                self.scene.__enter__()
                self.door = GeneratedDoor()

            def teardown(self) -> None:
                self.scene.__exit__(None, None, None)

            def call(self, case: schemathesis.Case, **kwargs: Any) -> schemathesis.Response:
                asked = self.door.ask(who[name], case, keep=kept)
                if not leads_nowhere(case):
                    run.cases[case.operation.label] += 1
                    judge.judge(name, who[name], case, asked)
                return asked.response

            def validate_response(self, *args: Any, **kwargs: Any) -> None:
                """The judge has."""

        for _attempt in range(MOST_ATTEMPTS):
            # What is answered depends on numbers that PostgreSQL gives only once, so a scenario that begins like an
            # earlier one may go on otherwise, at which Hypothesis gives up. Those that follow begin with other numbers.
            with suppress(FlakyStrategyDefinition):
                Scenario.run(settings=_profile(scenarios, stateful_step_count=steps))
                break
    return run


def _often(test: Callable[[], Any], examples: int) -> Callable[[], Any]:
    return _profile(examples)(test)


def _profile(examples: int, **more: Any) -> settings:
    """Only generating, the same in each run: a finding is told as it was found, and the run goes on."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )
