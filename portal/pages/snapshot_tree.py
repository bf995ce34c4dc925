"""A VM's snapshots as the tree they are. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from inventory.models import Snapshot


@dataclass(slots=True)
class Node:
    """A snapshot and those taken on top of it."""

    snapshot: Snapshot
    children: list[Node] = field(default_factory=list)


def tree(snapshots: Sequence[Snapshot]) -> list[Node]:
    """The roots. A snapshot whose parent is not listed, or whose parents go in a circle, stands as a root itself."""
    nodes = {row.name: Node(row) for row in snapshots}
    roots: list[Node] = []
    placed: dict[str, list[str]] = defaultdict(list)
    for row in snapshots:
        parent = row.parent_name
        if parent in nodes and not _is_below(parent, row.name, placed):
            nodes[parent].children.append(nodes[row.name])
            placed[row.name].append(parent)
        else:
            roots.append(nodes[row.name])
    return roots


def _is_below(name: str, ancestor: str, placed: dict[str, list[str]]) -> bool:
    """Whether `name` is `ancestor`, or was placed somewhere under it."""
    while name != ancestor:
        if not placed[name]:
            return False
        name = placed[name][0]
    return True
