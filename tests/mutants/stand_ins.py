"""What mutants call in place of what they leave out. Imports wait, so that nothing is imported before it is woven."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`VIEW`, `SIGNED_IN` and `PUBLIC`, which woven code names."""
    if name == "VIEW":
        from access.actions import Action

        return Action.VIEW
    from portal import declared

    return getattr(declared, name)


def every_action() -> set[Any]:
    """What an administrator holds."""
    from access.actions import Action

    return set(Action)


def everything_on(objects: Any) -> dict[Any, set[Any]]:
    """`gate.actions_on`, for somebody who holds everything."""
    return {item.pk: every_action() for item in objects}


def explain(user: Any, action: Any, target: Any = None) -> Any:
    """`access.explain.explain`, whoever asks."""
    from access import explain as module

    return module.explain(user, action, target)


def whatever_is_there(rows: Any, key: Any) -> Any:
    """The object of that key, seen or not."""
    from django.shortcuts import get_object_or_404

    return get_object_or_404(rows, pk=key)


def whatever_is_named(rows: Any, reference: str) -> Any:
    """Objects of that key or name, seen or not."""
    return rows.filter(pk=int(reference)) if reference.isdigit() else rows.filter(name=reference)
