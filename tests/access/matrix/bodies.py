"""What is sent: bodies that are valid, so that only the gate stands between the sender and the effect.

A page or an address whose methods are not named here gets an empty body; that of a GET is its query. A body names
things of one side; a grant's holder, and what a person is asked about, is of the first side of a kind like
`ours+theirs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tests import factories as make
from tests.access.matrix.world import Side, key

#: (the side of what is named, the side of the address) -> the body
Body = Callable[[Side, Side], dict[str, Any]]


def _work(**fields: Any) -> Body:
    """The form of an operation, with its hidden key."""
    return lambda side, _: {"key": str(uuid4()), **fields}


def _submit(operation: str, **params: Any) -> Body:
    """A job on a side's VM."""
    return lambda side, _: {"operation": operation, "target": {"vm": key(side.vm)}, "params": params}


def _on_host(operation: str) -> Body:
    """A job on a side's host."""
    return lambda side, _: {"operation": operation, "target": {"host": key(side.host)}}


def _on_snapshot(operation: str) -> Body:
    return lambda side, _: {
        "operation": operation,
        "target": {"vm": key(side.vm)},
        "params": {"snapshot": side.snapshot.name},
    }


def _grant(**scope: str) -> Body:
    """A role for a side's team, on the thing that a scope names."""
    return lambda side, first: {
        "team": key(first.team),
        "role": "viewer",
        "reason": "asked for it",
        **{name: key(getattr(side, thing)) for name, thing in scope.items()},
    }


def _ask(scope: str) -> Body:
    """A role that nobody holds, so that anybody has something to ask for."""
    return lambda side, _: {
        "role": "night-shift",
        scope: key(getattr(side, scope)),
        "hours": 1,
        "reason": "a night shift",
    }


def _ask_page(side: Side, first: Side) -> dict[str, Any]:
    return {"role": key(make.role("night-shift")), "hours": "1", "reason": "a night shift"}


def _rule(side: Side) -> dict[str, Any]:
    return {"name": "a rule", "kind": "only_on", "segment": key(side.segment), "hosts": [key(side.host)]}


def _membership(verb: str) -> Body:
    return lambda side, first: {verb: {"team": key(first.team), "user": key(side.user)}}


PAGES: dict[tuple[str, str], Body] = {
    ("sign-in", "POST"): lambda side, _: {"username": "stranger", "password": "wrong"},
    ("vm-snapshot", "POST"): _work(),
    ("vm-revert", "POST"): _work(understood="on"),
    ("vm-snapshot-delete", "POST"): _work(),
    ("vm-patch", "POST"): _work(),
    ("vm-migrate", "POST"): _work(policy="gentle"),
    ("vm-power", "POST"): _work(),
    ("host-drain", "POST"): _work(policy="gentle", unmovable="refuse"),
    ("host-activate", "POST"): _work(policy="gentle"),
    ("host-prove", "POST"): _work(),
    ("host-reserve", "POST"): lambda side, _: {"reserved_mib": "1024"},
    ("cluster-rebalance", "POST"): _work(policy="gentle"),
    ("cluster-balancing", "POST"): lambda side, _: {"balancing": "advise"},
    ("placement-rule-new", "POST"): lambda side, _: _rule(side) | {"hosts": key(side.host)},
    ("placement-rule-lift", "POST"): lambda side, _: {"reason": "no longer"},
    ("vm-segment", "POST"): lambda side, _: {"segment": key(side.segment) or "", "reason": "to see"},
    ("host-new", "POST"): lambda side, _: {"name": "new", "uri": "sim://new/", "cluster": key(side.cluster)},
    ("segment-grant", "POST"): lambda side, first: {
        "team": key(side.team),
        "role": key(first.role),
        "reason": "asked",
    },
    ("team-member-add", "POST"): lambda side, _: {"username": side.user.username},
    ("vm-ask", "POST"): _ask_page,
    ("segment-ask", "POST"): _ask_page,
    ("access-refuse", "POST"): lambda side, _: {"reason": "no need"},
    ("job-reject", "POST"): lambda side, _: {"reason": "not today"},
    ("vm-definition-restore", "POST"): _work(),
    ("vm-definition-approve", "POST"): lambda side, _: {"seen": make.changed_definition().digest},
    ("vm-changes-acknowledge", "POST"): lambda side, _: {"up_to": 10**9},
    ("vm-migration", "POST"): lambda side, _: {"policy": "large", "address": "192.0.2.7"},
    ("vm-snapshot-expiry", "POST"): lambda side, _: {"hours": 48},
    ("vm-installed", "POST"): lambda side, _: {"installed": "on"},
    ("segment-baseline", "POST"): lambda side, _: {"policy": "installed", "longest_pause": 30},
    ("segment-migration", "POST"): lambda side, _: {"policy": "assured"},
    ("segment-alarms", "POST"): lambda side, _: {"alarms": "power"},
    ("hold-place", "POST"): lambda side, _: {"name": "Case 7", "reason": "a court", "object": "web-1"},
    ("hold-lift", "POST"): lambda side, _: {"reason": "settled"},
    ("segment-approvals", "POST"): lambda side, _: {"operations": "vm.patch"},
    ("auditors:search_save", "POST"): lambda side, _: {"name": "refusals", "query": "outcome=refused"},
    ("auditors:access_why", "GET"): lambda side, _: {
        "kind": "vm",
        "target": key(side.vm),
        "user": key(side.user),
        "action": "view",
    },
}

API: dict[tuple[str, str], Body] = {
    ("api:host-list", "POST"): lambda side, _: {"name": "new", "uri": "sim://new/", "cluster": key(side.cluster)},
    ("api:cluster-list", "POST"): lambda side, _: {"name": "new"},
    ("api:cluster-detail", "PATCH"): lambda side, _: {"encrypted_migrations": True, "balancing": "advise"},
    ("api:host-detail", "PATCH"): lambda side, _: {"reserved_mib": 1024},
    # About nothing: who is let through is told so.
    ("api:placement-rule-list", "POST"): lambda side, _: {
        "name": "a rule",
        "kind": "apart",
        "cluster": key(side.cluster),
    },
    ("api:placement-rule-list", "POST:rule"): lambda side, _: _rule(side) | {"cluster": key(side.cluster)},
    ("api:vm-detail", "PATCH"): lambda side, _: {"segment": None},
    ("api:vm-detail", "PATCH:into"): lambda side, _: {"segment": key(side.segment)},
    ("api:segment-list", "POST"): lambda side, _: {"name": "new"},
    ("api:team-list", "POST"): lambda side, _: {"name": "new"},
    ("api:team-members", "POST"): lambda side, _: {"user": key(side.user)},
    ("api:role-list", "POST"): lambda side, _: {"slug": "new", "name": "New", "actions": ["view"]},
    ("api:grant-list", "POST"): _grant(segment="segment"),
    ("api:grant-list", "POST:vm"): _grant(vm="vm"),
    ("api:grant-list", "POST:host"): _grant(host="host"),
    ("api:grant-list", "POST:cluster"): _grant(cluster="cluster"),
    ("api:grant-list", "POST:everything"): lambda side, first: _grant()(side, first) | {"everything": True},
    ("api:user-list", "POST"): lambda side, _: {"username": "new", "password": "long-enough-and-odd"},
    ("api:user-detail", "PATCH"): lambda side, _: {"is_active": False},
    ("api:access-explain", "GET:vm"): lambda side, _: {"action": "view", "vm": key(side.vm)},
    ("api:access-explain", "GET:host"): lambda side, _: {"action": "view", "host": key(side.host)},
    ("api:access-explain", "GET:user"): lambda side, first: {
        "action": "view",
        "vm": key(first.vm),
        "user": key(side.user),
    },
    ("api:access-preview", "POST:give"): lambda side, first: {"give": _grant(segment="segment")(side, first)},
    ("api:access-preview", "POST:revoke"): lambda side, _: {"revoke": key(side.grant)},
    ("api:access-preview", "POST:join"): _membership("join"),
    ("api:access-preview", "POST:leave"): _membership("leave"),
    ("api:access-request-list", "POST"): _ask("segment"),
    ("api:access-request-list", "POST:vm"): _ask("vm"),
    ("api:access-request-refuse", "POST"): lambda side, _: {"note": "no need"},
    ("api:vm-changes-acknowledge", "POST"): lambda side, _: {"up_to": 10**9},
    ("api:vm-migration", "PUT"): lambda side, _: {"policy": "large", "address": "192.0.2.7"},
    ("api:vm-snapshot-expiry", "PUT"): lambda side, _: {"hours": 48},
    ("api:vm-baseline", "PUT"): lambda side, _: {"installed": True},
    ("api:segment-baseline", "PUT"): lambda side, _: {"policy": "installed", "longest_pause": 30},
    ("api:segment-migration", "PUT"): lambda side, _: {"policy": "assured"},
    ("api:segment-alarms", "PUT"): lambda side, _: {"silent": ["power"]},
    ("api:segment-approvals", "PUT"): lambda side, _: {"needs_approval": ["vm.patch"]},
    ("api:vm-definition-approve", "POST"): lambda side, _: {"seen": make.changed_definition().digest},
    ("api:hold-list", "POST"): lambda side, _: {"name": "Case 7", "reason": "a court", "object": "web-1"},
    ("api:hold-lift", "POST"): lambda side, _: {"reason": "settled"},
    ("api:job-reject", "POST"): lambda side, _: {"reason": "not today"},
    ("api:job-list", "POST:host.drain"): _on_host("host.drain"),
    ("api:job-list", "POST:host.activate"): _on_host("host.activate"),
    ("api:job-list", "POST:host.prove_paths"): _on_host("host.prove_paths"),
    ("api:job-list", "POST:cluster.rebalance"): lambda side, _: {
        "operation": "cluster.rebalance",
        "target": {"cluster": key(side.cluster)},
    },
    ("api:job-list", "POST:host.remove_leftovers"): _on_host("host.remove_leftovers"),
    ("api:job-controls", "POST"): lambda side, _: {"verb": "force_completion"},
    ("api:job-list", "POST:vm.start"): _submit("vm.start"),
    ("api:job-list", "POST:vm.shutdown"): _submit("vm.shutdown"),
    ("api:job-list", "POST:vm.reboot"): _submit("vm.reboot"),
    ("api:job-list", "POST:vm.force_off"): _submit("vm.force_off"),
    ("api:job-list", "POST:vm.migrate"): _submit("vm.migrate"),
    ("api:job-list", "POST:vm.migrate_preview"): _submit("vm.migrate_preview"),
    ("api:job-list", "POST:vm.restore_definition"): _submit("vm.restore_definition"),
    ("api:job-list", "POST:vm.patch"): _submit("vm.patch"),
    ("api:job-list", "POST:snapshot.create"): _submit("snapshot.create"),
    ("api:job-list", "POST:snapshot.revert"): _on_snapshot("snapshot.revert"),
    ("api:job-list", "POST:snapshot.delete"): _on_snapshot("snapshot.delete"),
}
