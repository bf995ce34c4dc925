"""What happens in a round: everything in it follows from the seed and the round's number."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

HOSTS = ("host1", "host2")


class Fault(StrEnum):
    """What breaks. "Source" and "destination" are the migration's."""

    WORKER_KILLED = "worker_killed"  # the one that has the job; another one is there
    WORKERS_KILLED = "workers_killed"  # all of them
    WORKER_STOPPED = "worker_stopped"  # SIGSTOP, for longer than its lease
    SOURCE_DAEMON_KILLED = "source_daemon_killed"
    DESTINATION_DAEMON_KILLED = "destination_daemon_killed"
    SOURCE_DAEMON_STOPPED = "source_daemon_stopped"
    DESTINATION_DAEMON_STOPPED = "destination_daemon_stopped"
    SOURCE_QEMU_KILLED = "source_qemu_killed"
    DESTINATION_QEMU_KILLED = "destination_qemu_killed"
    SOURCE_CUT = "source_cut"  # off all networks
    DESTINATION_CUT = "destination_cut"


class Moment(StrEnum):
    """When it breaks: at a boundary of the job's (an intent, an outcome or a step is in the record), in a phase, or
    when a part of the memory is copied.
    """

    CHECKING = "phase checking"
    FORGET_INTENT = "intent snapshots_forget"
    FORGET_OUTCOME = "outcome snapshots_forget"
    MIGRATE_INTENT = "intent migrate"
    PREPARING = "phase preparing"
    WARM_UP = "phase warm-up"
    COPIED = "part copied"
    STOP_AND_COPY = "phase stop-and-copy"
    POST_COPY = "phase post-copy"
    IN_POST_COPY = "in post-copy"
    SETTLE_STEP = "step settle"
    LUGGAGE_STEP = "step luggage_on"
    RESTORE_INTENT = "intent snapshots_restore"
    AUTOSTART_INTENT = "intent set_autostart"
    MARK_INTENT = "intent mark_operation"
    VERIFYING = "phase verifying"


_WORKER = frozenset({Fault.WORKER_KILLED, Fault.WORKERS_KILLED, Fault.WORKER_STOPPED})
_BEFORE_THE_CALL = frozenset({Moment.CHECKING, Moment.FORGET_INTENT, Moment.FORGET_OUTCOME, Moment.MIGRATE_INTENT})
_IN_POST_COPY = frozenset({Moment.POST_COPY, Moment.IN_POST_COPY})
_AFTER_THE_CALL = frozenset(
    {Moment.SETTLE_STEP, Moment.LUGGAGE_STEP, Moment.RESTORE_INTENT, Moment.AUTOSTART_INTENT, Moment.MARK_INTENT,
     Moment.VERIFYING}
)  # fmt: skip
_NEEDS_SNAPSHOTS = frozenset({Moment.FORGET_INTENT, Moment.FORGET_OUTCOME, Moment.RESTORE_INTENT})
#: Long enough for another worker to have taken the job, in seconds (`SLIPWAY_LEASE_SECONDS` and the sweeper's round).
_PAST_THE_LEASE = 9.0
#: Longer than a client's keepalive (20 s), and than the daemons' own (30 s).
_PAST_KEEPALIVE = (25.0, 36.0)
_ONE_IN = 12


@dataclass(frozen=True, slots=True)
class Round:
    """One round. `hold` is how long the fault lasts, in seconds; `link_mib` the link's rate, MiB/s."""

    number: int
    source: str
    destination: str
    fault: Fault
    moment: Moment
    part: float
    policy: str
    bandwidth_mib: int
    link_mib: float | None
    snapshots: int
    autostart: bool
    hold: float

    @property
    def goes_post_copy(self) -> bool:
        """Whether the switch to post-copy is asked for."""
        return self.moment in _IN_POST_COPY


def makes_sense(fault: Fault, moment: Moment) -> bool:
    """Whether there is something to strike: a process that is there, and the job's own."""
    if fault is Fault.SOURCE_QEMU_KILLED:
        return moment not in _AFTER_THE_CALL
    if fault is Fault.DESTINATION_QEMU_KILLED:
        return moment not in _BEFORE_THE_CALL
    return True


#: Every fault at every moment at which it makes sense.
CELLS = tuple((fault, moment) for fault in Fault for moment in Moment if makes_sense(fault, moment))


def round_of(seed: int, number: int) -> Round:
    """The round of that number. All cells come by, in an order that the seed decides, before one comes again."""
    turn, place = divmod(number, len(CELLS))
    order = list(CELLS)
    random.Random(f"{seed}/order/{turn}").shuffle(order)  # noqa: S311 - no secret
    fault, moment = order[place]
    chance = random.Random(f"{seed}/{number}")  # noqa: S311
    return drawn(number, fault, moment, chance)


def drawn(number: int, fault: Fault, moment: Moment, chance: random.Random) -> Round:
    """A round of that fault and moment; the rest is left to chance."""
    source, destination = chance.sample(HOSTS, 2)
    post_copy = moment in _IN_POST_COPY
    snapshots = chance.randint(1 if moment in _NEEDS_SNAPSHOTS else 0, 3)
    return Round(
        number=number,
        source=source,
        destination=destination,
        fault=fault,
        moment=moment,
        part=chance.uniform(0.1, 0.9),
        policy="assured" if post_copy else chance.choice(("gentle", "assured")),
        bandwidth_mib=_bandwidth(moment, chance),
        link_mib=6.0 if post_copy else None,
        snapshots=snapshots,
        autostart=moment is Moment.AUTOSTART_INTENT or chance.random() < 0.5,
        hold=_hold(fault, chance),
    )


def _bandwidth(moment: Moment, chance: random.Random) -> int:
    """Narrow where the copy is to have a middle."""
    if moment in _IN_POST_COPY:
        return 4
    if moment in (Moment.WARM_UP, Moment.COPIED):
        return chance.randint(8, 16)
    return chance.choice((0, 24, 48))


def _hold(fault: Fault, chance: random.Random) -> float:
    if fault is Fault.WORKER_STOPPED:
        return _PAST_THE_LEASE
    if fault in _WORKER or fault in (Fault.SOURCE_QEMU_KILLED, Fault.DESTINATION_QEMU_KILLED):
        return 0.0
    if fault not in (Fault.SOURCE_DAEMON_KILLED, Fault.DESTINATION_DAEMON_KILLED) and chance.randrange(_ONE_IN) == 0:
        return chance.choice(_PAST_KEEPALIVE)
    return round(chance.uniform(0.5, 5.0), 1)
