"""Habits of the house that no tool checks: small files, and the allowed exceptions to "imports point down"."""

from __future__ import annotations

import ast
from pathlib import Path

from django.apps import apps
from django.db.models import ForeignKey

ROOT = Path(__file__).parents[2]
PACKAGES = ("portal", "console", "jobs", "inventory", "access", "audit", "hypervisor", "lab", "bench", "tests")
MOST_LINES = 400
LONGEST_FUNCTION = 50
#: Given to auditors as one file that needs nothing else.
GIVEN_AWAY, LONGEST_GIVEN_AWAY = "audit/offline/slipway_audit_verify.py", 550


def sources() -> list[Path]:
    return [p for name in PACKAGES for p in (ROOT / name).rglob("*.py") if "migrations" not in p.parts]


def test_files_stay_small():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert long.pop(GIVEN_AWAY) <= LONGEST_GIVEN_AWAY
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_functions_stay_short():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_access_points_upwards_only_by_these_foreign_keys():
    """The one stated exception: access names its targets by string, and nothing else."""
    upward = {
        f"{model.__name__}.{field.name} -> {field.related_model._meta.label}"
        for model in apps.get_app_config("access").get_models()
        for field in model._meta.get_fields()
        if isinstance(field, ForeignKey)
        and field.related_model._meta.app_label in ("inventory", "jobs", "console", "portal")
    }
    targets = {"Segment": "segment", "VM": "vm", "Host": "host", "Cluster": "cluster"}
    rows = {f"{who}{name}Permission.content_object -> inventory.{name}" for who in ("User", "Team") for name in targets}
    scopes = {
        f"{model}.{field} -> inventory.{name}"
        for model in ("Grant", "AccessRequest")
        for name, field in targets.items()
    }
    assert upward == rows | scopes


def test_the_driver_catches_libvirts_error_in_one_file():
    offenders = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "hypervisor" / "libvirt_driver").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is not None and "libvirtError" in ast.unparse(node.type)
        if path.name != "errors.py"
    ]
    assert offenders == []


def test_every_protected_model_declares_how_grants_reach_it():
    from access.querysets import ScopedQuerySet

    for label in ("inventory", "jobs"):
        for model in apps.get_app_config(label).get_models():
            queryset = model._default_manager.all()
            if isinstance(queryset, ScopedQuerySet):
                assert queryset.scopes, model
