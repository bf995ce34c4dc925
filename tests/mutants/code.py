"""Small questions about a syntax tree, for the rules."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: its file, the names of the classes and functions around it, and what is above it in
    the tree, the nearest first.
    """

    path: str
    names: tuple[str, ...]
    above: tuple[ast.AST, ...]
    in_function: bool

    @property
    def parent(self) -> ast.AST:
        """What the expression is a part of."""
        return self.above[0]


def called(node: ast.AST) -> str:
    """The name of what is called: `authorise` for `gate.authorise(...)`; "" for what is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def action_named(node: ast.AST) -> str:
    """`GRANT` for `Action.GRANT`; "" for anything else."""
    is_action = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Action"
    return node.attr if is_action else ""


def expression(text: str) -> ast.expr:
    """An expression from its text."""
    return ast.parse(text, mode="eval").body


def call(stand_in: str, *arguments: ast.expr) -> ast.expr:
    """A call of one of `stand_ins` with arguments of the original."""
    return ast.Call(expression(f"__stand_in__.{stand_in}"), [copy.deepcopy(argument) for argument in arguments], [])


def without(node: ast.Call, number: int) -> ast.Call:
    """A call without one of its arguments, counted positional ones first."""
    found = copy.deepcopy(node)
    if number < len(found.args):
        del found.args[number]
    else:
        del found.keywords[number - len(found.args)]
    return found


def last(block: list[ast.stmt]) -> ast.stmt:
    """How a block ends."""
    return block[-1]


def raised(statement: ast.stmt) -> str:
    """The name of the exception that a statement raises, or ""."""
    if not isinstance(statement, ast.Raise) or statement.exc is None:
        return ""
    return called(statement.exc) or getattr(statement.exc, "id", "")


def alternatives(node: ast.expr) -> Iterator[ast.expr]:
    """The operands of each `or` in a condition."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.BoolOp) and isinstance(inner.op, ast.Or):
            yield from inner.values
