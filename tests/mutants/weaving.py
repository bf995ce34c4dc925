"""Weaving: every mutant of a file is put into its code at once, asleep. Which one is awake is said at run time.

    gate.authorise(actor, action)    becomes    None if __mutant__("...") else gate.authorise(actor, action)

So nothing is edited, one process can try one mutant after the other, and the question tells who passes by.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib.abc
import importlib.machinery
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests.mutants import stand_ins
from tests.mutants.code import Place
from tests.mutants.rules import RULES, Change

ROOT = Path(__file__).parents[2]
#: What is searched for uses of the gate.
PACKAGES = ("access", "audit", "console", "inventory", "jobs", "portal")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One use of the gate, taken away by a rule."""

    rule: str
    path: str
    line: int
    where: str
    before: str
    after: str
    twin: int
    #: Statements to carry out again in the module, for what is worked out when it is imported.
    again: ast.Module | None = None

    @property
    def key(self) -> str:
        """Its name, which stays the same while other lines of the file change."""
        twin = f" #{self.twin}" if self.twin > 1 else ""
        return f"{self.path} {self.where}: {self.before} => {self.after}{twin}"


class Loom(ast.NodeTransformer):
    """Finds the mutants of one file, and weaves them in."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.mutants: list[Mutant] = []
        self._path, self._tree = path, tree
        self._above: list[ast.AST] = []
        self._seen: Counter[str] = Counter()
        self._woven = self.visit(tree)

    @property
    def woven(self) -> ast.Module:
        """The file with its mutants, asleep."""
        return ast.fix_missing_locations(self._woven)

    def visit(self, node: ast.AST) -> Any:
        changes = list(self._changes(node)) if isinstance(node, ast.expr) else []
        self._above.insert(0, node)
        woven = self._inside(node)
        del self._above[0]
        for mutant, change in changes:
            if mutant.again is None:
                woven = self._choice(mutant, change, woven)
        return woven

    def _inside(self, node: ast.AST) -> ast.AST:
        """The parts of a node that run: no annotations, no decorators, no defaults."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.body = [self.visit(part) for part in node.body]
                if any(mutant.again for mutant in self.mutants):  # whoever passes here meets those of the whole file
                    node.body.insert(0, ast.Expr(_question(self._path)))
            case ast.ClassDef():
                node.body = [self.visit(part) for part in node.body]
            case ast.AnnAssign():
                node.value = self.visit(node.value) if node.value is not None else None
            case _:
                self.generic_visit(node)
        return node

    def _changes(self, node: ast.expr) -> Iterator[tuple[Mutant, Change]]:
        names = [part.name for part in reversed(self._above) if isinstance(part, ast.FunctionDef | ast.ClassDef)]
        in_function = any(isinstance(part, ast.FunctionDef | ast.Lambda) for part in self._above)
        place = Place(self._path, tuple(names or ["the module"]), tuple(self._above), in_function)
        for rule in RULES:
            for change in rule(node, place):
                before = _shortened(ast.unparse(node))
                name = f"{'.'.join(place.names)}: {before} => {change.text}"
                self._seen[name] += 1
                again = self._again(node, change) if not in_function and self._path == "access/effects.py" else None
                mutant = Mutant(
                    rule.__name__, self._path, node.lineno, ".".join(place.names), before, change.text,
                    self._seen[name], again,
                )  # fmt: skip
                self.mutants.append(mutant)
                yield mutant, change

    def _again(self, node: ast.expr, change: Change) -> ast.Module:
        """The module's own assignments, with the change in place."""
        assert isinstance(node, ast.Constant)
        assert isinstance(change.instead, ast.Constant)
        node.value, kept = change.instead.value, node.value
        again = [copy.deepcopy(part) for part in self._tree.body if isinstance(part, ast.Assign)]
        node.value = kept
        return ast.Module(again, [])

    def _choice(self, mutant: Mutant, change: Change, woven: ast.expr) -> ast.expr:
        above = self._above[0]
        if isinstance(above, ast.Assign) and isinstance(self._above[1], ast.ClassDef):
            attribute = ast.Name("__attribute__", ast.Load())
            chosen: ast.expr = ast.Call(attribute, [ast.Constant(mutant.key), woven, change.instead], [])
        else:
            chosen = ast.IfExp(_question(mutant.key), change.instead, woven)
        return ast.copy_location(chosen, woven)


def _shortened(text: str) -> str:
    return text if len(text) < 120 else f"{text[:60]} ... {text[-40:]}"


def _question(key: str) -> ast.Call:
    return ast.Call(ast.Name("__mutant__", ast.Load()), [ast.Constant(key)], [])


class Switch:
    """Which mutant is awake, and which were passed by."""

    def __init__(self) -> None:
        self.awake = ""
        self.passed: set[str] = set()

    def __call__(self, key: str) -> bool:
        self.passed.add(key)
        return key == self.awake


SWITCH = Switch()


class Attribute:
    """A class attribute with a mutant."""

    switch = SWITCH

    def __init__(self, key: str, value: Any, instead: Any) -> None:
        self._key, self._value, self._instead = key, value, instead

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self._instead if self.switch(self._key) else self._value


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.path)
        loom = Loom(str(path.relative_to(ROOT)), ast.parse(path.read_text()))
        return compile(loom.woven, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def weave() -> None:
    """From now on every module of the house is imported with its mutants."""
    builtins.__mutant__ = SWITCH  # type: ignore[attr-defined]
    builtins.__attribute__ = Attribute  # type: ignore[attr-defined]
    builtins.__stand_in__ = stand_ins  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder())


def wake(mutant: Mutant) -> None:
    """Let one mutant do its mischief, in this process."""
    SWITCH.awake = mutant.key
    if mutant.again is not None:
        module = sys.modules[mutant.path.removesuffix(".py").replace("/", ".")]
        exec(compile(ast.fix_missing_locations(mutant.again), mutant.path, "exec"), vars(module))  # noqa: S102


def mutants() -> list[Mutant]:
    """All of them, file by file."""
    found: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                found += Loom(str(path.relative_to(ROOT)), ast.parse(path.read_text())).mutants
    return found
