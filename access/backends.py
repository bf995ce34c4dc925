"""Django's authentication backend: passwords as Django keeps them, permissions as the gate says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from access import gate
from access.actions import Action


class GateBackend(ModelBackend):
    """Answers `user.has_perm("inventory.<action>", obj)` by the gate; a permission that is no action is never held."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        name = perm.rpartition(".")[2]
        if name not in Action.values or not user_obj.is_authenticated:
            return False
        return gate.can(user_obj, Action(name), obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return bool(user_obj.is_authenticated) and gate.can(user_obj, Action.READ_AUDIT)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        if obj is None or not user_obj.is_authenticated:
            return set()
        label = obj._meta.app_label
        return {f"{label}.{action}" for action in gate.actions_on(user_obj, [obj])[obj.pk]}
