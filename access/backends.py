"""Django's authentication backend: passwords as Django keeps them, permissions as the gate says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from access import gate
from access.actions import Action


class GateBackend(ModelBackend):
    """Answers `user.has_perm("inventory.<action>", obj)` by the gate; a permission that is no action is never held.

    Who is not signed in is inactive, and the gate gives them nothing.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        name = perm.rpartition(".")[2]
        return name in Action.values and gate.can(user_obj, Action(name), obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return gate.can(user_obj, Action.READ_AUDIT)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        if obj is None:
            return set()
        label = obj._meta.app_label
        return {f"{label}.{action}" for action in gate.actions_on(user_obj, [obj])[obj.pk]}
