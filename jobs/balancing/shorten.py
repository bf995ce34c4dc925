"""A plan of at most so many moves: the first of a longer one, cut where what was made so far stands by itself."""

from __future__ import annotations

from dataclasses import replace

from jobs.balancing.answer import Plan
from jobs.balancing.binding import fellows
from jobs.balancing.board import Board
from jobs.balancing.estate import Estate
from jobs.balancing.planner import able, moved, standing
from jobs.balancing.policy import Policy


def shortened(plan: Plan, estate: Estate, policy: Policy, most: int) -> Plan:
    """The plan with `most` of its moves or fewer. A group that belongs together is not cut in two, and a plan does not
    end with a move that gains only by a later one.
    """
    if len(plan.moves) <= most:
        return plan
    crew_of = {int(vm): number for number, crew in enumerate(fellows(estate)) for vm in crew}
    kept = most
    while kept and not _may_end(plan, kept, crew_of):
        kept -= 1
    moves = plan.moves[:kept]
    after = standing(Board(moved(able(estate), list(moves)), policy))
    cut = f"Of {len(plan.moves)} moves the first {kept} are to be made now." if kept else "None of it is short enough."
    return replace(plan, moves=moves, after=after, verdict=f"{plan.verdict} {cut}")


def _may_end(plan: Plan, kept: int, crew_of: dict[int, int]) -> bool:
    begun = {crew_of[move.vm] for move in plan.moves[:kept] if move.vm in crew_of}
    is_cut = any(crew_of.get(move.vm) in begun for move in plan.moves[kept:])
    return plan.moves[kept - 1].code != "exchange" and not is_cut
