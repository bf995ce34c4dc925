"""What a migration will come to, before it begins: how long, with which pause, or that it will not end. Pure.

In pass k of pre-copy what the guest wrote during pass k-1 is sent. With memory M, a link that carries B and a guest
that writes D bytes a second, pass k sends M (D/B)^k: a geometric series (Clark et al., Live Migration of Virtual
Machines, NSDI 2005). It ends when what remains can be sent within the allowed pause. A guest that keeps writing the
same pages writes fewer new ones in a long pass than D says, so that for large passes this is the pessimistic side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.operations.migrate.passes import WINDOW_SECONDS
from jobs.operations.migrate.policies import Policy

#: Passes beyond which a migration makes no headway to speak of.
MOST_PASSES = 1000
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Prediction:
    """`seconds` and `pause_ms` are None where they cannot be told; `ends` is None while the link's speed is unknown."""

    ends: bool | None
    seconds: float | None
    pause_ms: int | None
    sentence: str


def predict(memory_bytes: int, dirty_bps: int, link_bps: int | None, policy: Policy) -> Prediction:
    """Foretell a migration. `link_bps` is what the link carries, in bytes a second, as measured or capped."""
    writes = (
        "The guest writes less than 1 MiB/s" if dirty_bps < MIB else f"The guest writes {dirty_bps / MIB:.0f} MiB/s"
    )
    if not link_bps:
        return Prediction(None, None, None, f"{writes}; how much the link between the hosts carries is not known yet.")
    facts = f"{writes}, the link carries {link_bps / MIB:.0f} MiB/s"
    allowed = policy.max_downtime_ms
    whole_ms = 1000 * memory_bytes / link_bps
    ratio = dirty_bps / link_bps
    if whole_ms <= allowed:
        return _ends(facts, 0, whole_ms, 0.0)
    passes = _passes(ratio, allowed / whole_ms)
    if passes <= MOST_PASSES:
        copying = whole_ms / 1000 * (1 - ratio**passes) / (1 - ratio)
        return _ends(facts, passes, whole_ms * ratio**passes, copying)
    if whole_ms <= policy.longest_pause_ms:
        return _ends_once_it_stalls(facts, policy, whole_ms)
    return _does_not_end(facts, policy, whole_ms)


def _passes(ratio: float, share: float) -> float:
    """How many passes, each so many times the one before, until one is as small as that share of the first."""
    if ratio >= 1:
        return math.inf
    return 1 if ratio == 0 else max(1, math.ceil(math.log(share) / math.log(ratio)))


def _ends(facts: str, passes: float, pause_ms: float, copying: float) -> Prediction:
    seconds = copying + pause_ms / 1000
    pause = max(1, round(pause_ms))
    over = "one pass" if passes == 1 else f"{passes:.0f} passes"
    sentence = f"{facts}: some {seconds:.1f} s in {over}, with a pause of some {pause} ms at the switch."
    return Prediction(True, round(seconds, 1), pause, sentence)


def _ends_once_it_stalls(facts: str, policy: Policy, whole_ms: float) -> Prediction:
    """At the latest then the whole of its memory is sent in the pause."""
    sentence = (
        f"{facts}: it will make no headway, and after some {WINDOW_SECONDS:.0f} s the guest will be stopped for the "
        f"rest, for {whole_ms:.0f} ms at most, which the policy “{policy.name}” allows."
    )
    seconds = WINDOW_SECONDS + 2 * whole_ms / 1000
    return Prediction(True, round(seconds, 1), round(whole_ms), sentence)


def _does_not_end(facts: str, policy: Policy, whole_ms: float) -> Prediction:
    """The choices are the reader's: a longer pause, post-copy, or a faster link."""
    way_out = (
        "it will switch to post-copy"
        if policy.postcopy
        else "choose a longer pause, the policy “assured” (post-copy), a faster link, or a quieter hour"
    )
    sentence = (
        f"{facts}: with a pause of at most {policy.longest_pause_ms} ms it will not end by itself, unless slowing the "
        f"guest down suffices; in one piece its memory would take {whole_ms / 1000:.1f} s. As it is, {way_out}."
    )
    return Prediction(False, None, None, sentence)
