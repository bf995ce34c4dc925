"""Where a VM is and what it does, derived from sightings. One pure decision; nothing else writes a VM's host or
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hypervisor.types import PowerState, StateReason


@dataclass(frozen=True, slots=True)
class Seen:
    """One host's latest word on the domain."""

    host_id: int
    state: str
    reason: str
    state_since: datetime
    observed_at: datetime
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """The verdict. `host_id` None: no host has ever shown it alive."""

    host_id: int | None
    state: str
    reason: str
    observed_at: datetime | None
    is_split: bool = False
    is_missing: bool = False


def placement(sightings: Sequence[Seen], current_host_id: int | None) -> Placement:
    """Decide where a VM is.

    - The host that runs it has it. Two hosts that ran it at the same time are a split brain; the VM then stays where
      it was.
    - A running sighting that is older than the other host's start is merely stale: the newer one wins.
    - Not running anywhere: it stays where it was, unless that host no longer has it.
    - A domain waiting for an incoming migration, or left behind by an outgoing one, places no VM.
    """
    live = [seen for seen in sightings if not seen.gone]
    if not live:
        last = max((seen.observed_at for seen in sightings), default=None)
        return Placement(current_host_id, PowerState.UNKNOWN.value, "", last, is_missing=True)
    running = [seen for seen in live if seen.state == PowerState.RUNNING.value]
    if len(running) > 1:
        split = min(seen.observed_at for seen in running) >= max(seen.state_since for seen in running)
        if split:
            chosen = _at(running, current_host_id) or max(running, key=lambda seen: (seen.state_since, seen.host_id))
            return _placed(chosen, is_split=True)
        return _placed(max(running, key=lambda seen: (seen.state_since, seen.host_id)))
    if running:
        return _placed(running[0])
    at_home = _at(live, current_host_id)
    if at_home and not _left(at_home):
        return _placed(at_home)
    settled = [seen for seen in live if not _left(seen) and not _arriving(seen)] or live
    return _placed(max(settled, key=lambda seen: (seen.observed_at, seen.host_id)))


def _at(sightings: Sequence[Seen], host_id: int | None) -> Seen | None:
    return next((seen for seen in sightings if seen.host_id == host_id), None)


def _left(seen: Seen) -> bool:
    return seen.state == PowerState.SHUT_OFF.value and seen.reason == StateReason.MIGRATED.value


def _arriving(seen: Seen) -> bool:
    return seen.state == PowerState.PAUSED.value and seen.reason == StateReason.MIGRATION.value


def _placed(seen: Seen, *, is_split: bool = False) -> Placement:
    return Placement(seen.host_id, seen.state, seen.reason, seen.observed_at, is_split=is_split)
