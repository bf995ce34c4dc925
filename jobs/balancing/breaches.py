"""Where a placement breaks the rules or a host's memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jobs.balancing.answer import Unmet
from jobs.balancing.board import TINY, Board
from jobs.balancing.estate import Bools, Ints


def not_permitted(board: Board) -> Ints:
    """VMs on a host that is not permitted to them."""
    return np.flatnonzero(~board.may_be[np.arange(len(board.at)), board.at])


def beside_rival(board: Board) -> Ints:
    """VMs beside one that they must not be beside; first those that have the most of them there."""
    count = board.rivals[np.arange(len(board.at)), board.at]
    found = np.flatnonzero(count > 0)
    return found[np.lexsort((found, -count[found]))]


def overfull(board: Board) -> Ints:
    """Hosts that have promised more memory than they have."""
    return np.flatnonzero(board.left_mib < -TINY)


def on_overfull(board: Board) -> Ints:
    """The VMs on those hosts; first those whose leaving is enough, the cheapest first."""
    lack = np.maximum(-board.left_mib, 0.0)[board.at]
    found = np.flatnonzero(lack > TINY)
    enough = board.memory[found] + TINY >= lack[found]
    return found[np.lexsort((found, board.price[found], ~enough))]


def scattered(board: Board, crews: list[Ints]) -> list[Ints]:
    """Groups that are to be together and are not."""
    return [crew for crew in crews if len(np.unique(board.at[crew])) > 1]


def remaining(board: Board, crews: list[Ints], free: Bools) -> Iterator[Unmet]:
    """What is still broken, with what stands in the way."""
    for vm in not_permitted(board):
        yield _of_vms("not_permitted", "Its host is not permitted to it", [int(vm)], free)
    for vm in beside_rival(board):
        yield _of_vms("beside_rival", "It is beside a VM that it must not be beside", [int(vm)], free)
    for host in overfull(board):
        lack = -board.left_mib[host] / 1024
        on_it = np.flatnonzero(board.at == host)
        why = f"It has promised {lack:.1f} GiB more than it has, and {_obstacle(free[on_it])}."
        yield Unmet("host_overfull", why, impossible=False, hosts=(int(host),))
    for crew in scattered(board, crews):
        yield _of_vms("not_together", "They are to be together", [int(vm) for vm in crew], free)


def _of_vms(code: str, what: str, vms: list[int], free: Bools) -> Unmet:
    return Unmet(code, f"{what}, and {_obstacle(free[vms])}.", impossible=False, vms=tuple(vms))


def _obstacle(free: Bools) -> str:
    if not free.any():
        return "what would have to move cannot move now, or moved just now"
    return "no move was found for which there is room, by the rules and with one host to spare"
