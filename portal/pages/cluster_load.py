"""How a cluster's hosts are used, as bars: the CPU, the memory, what is kept free. Pure, but for what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inventory.models import Host
from jobs.balancing.policy import HIGH, START
from jobs.operations.rebalance.reading import RESOURCES, Reading

#: Length of a bar, in the units of its drawing.
BAR = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """One resource of one host. `used` and `kept` are lengths on the bar, the latter from
    `kept_at` on; `note` says the same in words."""

    used: int
    kept: int
    kept_at: int
    share: float
    note: str
    is_high: bool


@dataclass(frozen=True, slots=True)
class HostLoad:
    """A host with its bars; None where nothing is known of it, or it is left out of the balance."""

    host: Host
    cpu: Bar | None
    memory: Bar | None


def host_loads(hosts: list[Host], reading: Reading | None) -> list[HostLoad]:
    """The hosts in their order, with what the reading has of them."""
    rows: Mapping[int, int] = {host.pk: number for number, host in enumerate(reading.hosts)} if reading else {}
    return [_host_load(host, reading, rows.get(host.pk)) for host in hosts]


def _host_load(host: Host, reading: Reading | None, row: int | None) -> HostLoad:
    if reading is None or row is None:
        return HostLoad(host, None, None)
    estate = reading.estate
    cores = float(estate.loads[estate.host == row, RESOURCES.index("CPU")].sum())
    promised = float(estate.memory_mib[estate.host == row].sum())
    return HostLoad(
        host,
        _bar(cores, host.cpus, 0, f"{cores:.1f} of {host.cpus} cores"),
        _bar(promised, host.memory_mib, host.reserved_mib, _memory_note(promised, host)),
    )


def _bar(used: float, all_of_it: float, kept: float, note: str) -> Bar:
    share = used / all_of_it if all_of_it else 0.0
    length = min(round(BAR * share), BAR)
    reserved = min(round(BAR * kept / all_of_it), BAR - length) if all_of_it else 0
    return Bar(length, reserved, BAR - reserved, share, note, is_high=share > HIGH)


def _memory_note(promised: float, host: Host) -> str:
    kept = f", {host.reserved_mib / 1024:.1f} kept" if host.reserved_mib else ""
    return f"{promised / 1024:.1f} of {host.memory_mib / 1024:.1f} GiB{kept}"


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the fullest host is over the mean, for one resource; strained from `START` on."""

    resource: str
    over_mean: float
    is_strained: bool


def spreads(over_mean: tuple[float, ...]) -> list[Spread]:
    """One for each resource."""
    return [
        Spread(resource, value, is_strained=value > START) for resource, value in zip(RESOURCES, over_mean, strict=True)
    ]
