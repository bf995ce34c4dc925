"""Proofs that no placement keeps the rules. Each is simple and certain; not every impossibility has one here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jobs.balancing.answer import Unmet
from jobs.balancing.binding import fellows, of_segment
from jobs.balancing.board import TINY, Board
from jobs.balancing.estate import Apart, Estate, Ints, NeverBeside


def impossible(board: Board) -> list[Unmet]:
    """What cannot be had, whatever moves."""
    estate = board.estate
    found = [*_homeless(board), *_too_many_apart(board), *_segments_side_by_side(board), *_contradictions(board)]
    total, room = float(board.memory.sum()), float(estate.usable_mib().sum())
    if total > room + TINY:
        why = f"The VMs take {_gib(total)}, all hosts together have {_gib(room)} for them."
        found.append(Unmet("cluster_overfull", why, impossible=True))
    elif board.policy.n_plus_one and (lack := _lack_of_headroom(estate)) > TINY:
        why = f"Without its largest host the cluster lacks {_gib(lack)} for its VMs, however they are placed."
        found.append(Unmet("headroom", why, impossible=True))
    return found


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"


def _lack_of_headroom(estate: Estate) -> float:
    room = estate.usable_mib()
    return float(estate.memory_mib.sum() - (room.sum() - room.max()))


def _homeless(board: Board) -> Iterator[Unmet]:
    """VMs without any host that is permitted, or large enough."""
    may = board.may_be
    for vm in np.flatnonzero(~may.any(axis=1)):
        yield Unmet("no_host_permitted", "No host is permitted to it.", impossible=True, vms=(int(vm),))
    largest = np.where(may, board.estate.usable_mib()[None, :], -np.inf).max(axis=1)
    for vm in np.flatnonzero(may.any(axis=1) & (board.memory > largest + TINY)):
        why = f"It takes {_gib(board.memory[vm])}, and the largest host permitted to it has {_gib(largest[vm])}."
        yield Unmet("too_large", why, impossible=True, vms=(int(vm),))


def _too_many_apart(board: Board) -> Iterator[Unmet]:
    """Groups to be apart that are permitted on fewer hosts than they have VMs (pigeonholes)."""
    for rule in board.estate.rules:
        if isinstance(rule, Apart):
            group = sorted(rule.vms)
            hosts = np.flatnonzero(board.may_be[group].any(axis=0))
            if len(group) > len(hosts):
                why = f"{len(group)} VMs are to be on a host each, and {len(hosts)} hosts are permitted to them."
                yield Unmet("apart_too_many", why, True, tuple(group), tuple(map(int, hosts)))


def _segments_side_by_side(board: Board) -> Iterator[Unmet]:
    """Two segments that are never to be side by side, with one host for both."""
    for rule in board.estate.rules:
        if isinstance(rule, NeverBeside):
            one, other = of_segment(board.estate, rule.segment), of_segment(board.estate, rule.other)
            hosts = np.flatnonzero(board.may_be[np.concatenate([one, other])].any(axis=0))
            if len(one) and len(other) and len(hosts) < 2:
                why = "Two segments are never to be beside each other, and have one host between them."
                yield Unmet("apart_too_many", why, True, (int(one[0]), int(other[0])), tuple(map(int, hosts)))


def _contradictions(board: Board) -> Iterator[Unmet]:
    """Groups to be together that no single host can take."""
    for group in fellows(board.estate):
        vms = tuple(map(int, group))
        rival = next((vm for vm in vms for others in board.rules.of(vm) if np.isin(group, others).any()), None)
        if rival is not None:
            yield Unmet("together_contradiction", "They are to be together, and some of them apart.", True, vms)
            continue
        hosts = _common(board, group)
        if not len(hosts):
            yield Unmet(
                "together_contradiction", "They are to be together, and no host is permitted to all.", True, vms
            )
        elif board.memory[group].sum() > board.estate.usable_mib()[hosts].max() + TINY:
            why = f"Together they take {_gib(board.memory[group].sum())}, more than any host permitted to them has."
            yield Unmet("together_contradiction", why, True, vms)


def _common(board: Board, group: Ints) -> Ints:
    return np.flatnonzero(board.may_be[group].all(axis=0))
