"""What the hypervisors were seen to say during a round, and what must hold of it: pure, history in, violations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

RUNNING, ABSENT, UNREADABLE = "running", "absent", "unreadable"
FINAL = frozenset({"succeeded", "failed", "errored", "cancelled"})
#: libvirt's reasons of the paused source in post-copy (VIR_DOMAIN_PAUSED_POSTCOPY, ..._FAILED).
HALVES = (12, 13)
#: A job is to be over so long after the fault is healed, in seconds.
OVER_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of one host about the VM, between two moments (seconds, monotonic)."""

    host: str
    asked: float
    answered: float
    state: str
    reason: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """One host's word on the VM at the end. `snapshots`: name -> parent's name. `qemu`: whether a process is there."""

    state: str
    persistent: bool = False
    autostart: bool = False
    mark: str = ""
    snapshots: Mapping[str, str] = field(default_factory=dict)
    qemu: bool = False

    @property
    def is_here(self) -> bool:
        return self.state not in (ABSENT, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Told:
    """What Slipway says at the end. `shown_state`: the VM's state in the inventory; `ends`: how many ends of the job
    stand in the record; `unfinished`: steps that are still open; `chain`: the record's first break.
    """

    job_state: str
    code: str
    locks: int
    ends: int
    unfinished: int
    effects: Sequence[tuple[str, str, str]]
    shown_state: str
    shown_host: str
    seconds_after_heal: float
    chain: str = ""
    changed_after_end: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """How the VM was when the round began, and whether its own QEMU fell to the fault."""

    source: str
    destination: str
    snapshots: Mapping[str, str]
    autostart: bool
    guest_killed: bool


def violations(history: Sequence[Reading], standings: Mapping[str, Standing], told: Told, before: Before) -> list[str]:
    """Everything that must hold and does not, each in a sentence."""
    if half_lost(history, told, before):
        before = replace(before, guest_killed=True)
    found = [*ran_twice(history), *_vm(standings, before), *_job(told), *_agreement(standings, told, before)]
    return list(dict.fromkeys(found))


def ran_twice(history: Sequence[Reading]) -> list[str]:
    """Whether one host said "running" after another one had, and the other still did afterwards.

    Two hosts cannot be asked in one instant. Three answers of which none overlaps the next, running here, there, and
    here again, with no other answer from here in between, leave no way in which they took turns unseen.
    """
    found = []
    for host in sorted({reading.host for reading in history}):
        here = [reading for reading in history if reading.host == host and reading.state != UNREADABLE]
        others = [reading for reading in history if reading.host != host and reading.state == RUNNING]
        for first, second in pairwise(here):
            if first.state != RUNNING or second.state != RUNNING:
                continue
            between = [other for other in others if first.answered < other.asked and other.answered < second.asked]
            if between:
                found.append(f"It ran on {host} and on {between[0].host} at once.")
                break
    return found[:1]


def half_lost(history: Sequence[Reading], told: Told, before: Before) -> bool:
    """Whether the guest fell to the hosts themselves: in post-copy, when each side has a part of it, the destination's
    part was gone and Slipway had not switched it off. (A destination ends its QEMU when the source's daemon dies before
    it is told that the guest is its own.)
    """
    if any((call, host) == ("force_off", before.destination) for call, _kind, host in told.effects):
        return False
    source_is_half = False
    for reading in history:
        if reading.host == before.source and reading.state != UNREADABLE:
            source_is_half = reading.state == "paused" and reading.reason in HALVES
        elif reading.host == before.destination and source_is_half and reading.state in (ABSENT, "off"):
            return True
    return False


def _vm(standings: Mapping[str, Standing], before: Before) -> list[str]:
    found = []
    here = {host: standing for host, standing in standings.items() if standing.is_here}
    running = [host for host, standing in here.items() if standing.state == RUNNING]
    if not here:
        return ["No host has it any more."]
    if len(running) > 1:
        found.append("Both hosts run it at the end.")
    if not running and not before.guest_killed:
        found.append("It does not run: " + ", ".join(f"{host} {one.state}" for host, one in here.items()) + ".")
    place = running[0] if running else next(iter(here))
    for host, standing in standings.items():
        if host != place and standing.is_here:
            found.append(f"{host} has a shell of it, {standing.state}.")
        elif host != place and standing.qemu:
            found.append(f"{host} has a stray QEMU of it.")
        if standing.mark:
            found.append(f"The mark of the job is left on {host}.")
    return found + _belongings(place, here[place], before)


def _belongings(host: str, standing: Standing, before: Before) -> list[str]:
    found = []
    if standing.state not in (RUNNING, "off"):
        found.append(f"It is {standing.state} on {host}.")
    if not standing.persistent:
        found.append(f"It is not defined on {host}.")
    if standing.autostart != before.autostart:
        found.append(f"Autostart is {standing.autostart}, and was {before.autostart}.")
    for name, parent in before.snapshots.items():
        if name not in standing.snapshots:
            found.append(f"The snapshot {name} is lost.")
        elif standing.snapshots[name] != parent:
            found.append(f"The snapshot {name} has the parent “{standing.snapshots[name]}”, and had “{parent}”.")
    found += [f"A snapshot {name} came about." for name in standing.snapshots if name not in before.snapshots]
    return found


def _job(told: Told) -> list[str]:
    found = []
    if told.job_state not in FINAL:
        return [f"The job is still {told.job_state}."]
    if told.job_state == "errored":
        found.append(f"The job ended by a bug: {told.code}.")
    if told.seconds_after_heal > OVER_WITHIN:
        found.append(f"The job was over only {told.seconds_after_heal:.0f} s after the fault was healed.")
    if told.changed_after_end:
        found.append("The job changed after its end.")
    if told.locks:
        found.append("The job's lock is left.")
    if told.ends != 1:
        found.append(f"The record tells of {told.ends} ends of the job.")
    if told.unfinished:
        found.append(f"{told.unfinished} steps of the job are open.")
    if told.chain:
        found.append(f"The record is broken: {told.chain}")
    for call in sorted({call for call, _kind, _host in told.effects}):
        kinds = [kind for name, kind, _host in told.effects if name == call]
        if kinds.count("outcome") > kinds.count("intent"):
            found.append(f"The record has more outcomes than intents of {call}.")
    if [kind for call, kind, _host in told.effects if call == "migrate"].count("intent") > 1:
        found.append("The migration was begun twice.")
    return found


def _agreement(standings: Mapping[str, Standing], told: Told, before: Before) -> list[str]:
    """Whether the job's end is what the hypervisors say."""
    running = [host for host, standing in standings.items() if standing.state == RUNNING]
    if told.job_state not in FINAL or len(running) > 1:
        return []
    if not running:
        said = told.job_state != "succeeded" or told.shown_state == "shut_off"
        return [] if said else ["The guest is off, and the job says that it succeeded."]
    wanted = before.destination if told.job_state == "succeeded" else before.source
    found = []
    if running[0] != wanted and not before.guest_killed:
        found.append(f"The job {told.job_state} ({told.code}), and {running[0]} runs it.")
    if (told.shown_host, told.shown_state) != (running[0], "running"):
        found.append(f"Slipway shows it {told.shown_state} on {told.shown_host}, and {running[0]} runs it.")
    return found


def course(history: Sequence[Reading]) -> list[list[Any]]:
    """The history without repetitions: host, seconds since the first reading, state, reason."""
    last: dict[str, tuple[str, int]] = {}
    told: list[list[Any]] = []
    for reading in history:
        now = (reading.state, reading.reason)
        if last.get(reading.host) != now:
            last[reading.host] = now
            told.append([reading.host, round(reading.answered - history[0].asked, 2), *now])
    return told
