"""Patching a guest: plan, snapshot, apply exactly the plan, check, keep or roll back."""

from jobs.operations.patch.operation import Patch

__all__ = ["Patch"]
