"""Guests by the thousand: names, sizes and habits as the machines of teams have them, from a seed."""

from __future__ import annotations

import random
import uuid as uuids
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver.definition import Config
from hypervisor.types import NIC, Disk

#: About one guest in this many is off.
ONE_OFF_IN = 7


@dataclass(frozen=True, slots=True)
class SimulatedHost:
    """A host of the estate. Hosts of one cluster see the same disks."""

    name: str
    cluster: str = "main"
    cpus: int = 32
    memory_mib: int = 256 * 1024
    cpu_model: str = "EPYC-Rome"
    link_mib: float = 1100.0  # what a migration gets, MiB a second
    networks: tuple[str, ...] = ("default",)  # `accounting-net` is the accounting team's

    @property
    def uri(self) -> str:
        """The address under which Slipway knows it."""
        return f"sim://{self.name}/"


@dataclass(frozen=True, slots=True)
class Role:
    """What a machine is for, and what follows from it."""

    name: str
    memory_mib: int
    vcpus: int
    dirty_mib: float  # memory dirtied, MiB a second
    hot_mib: float  # working set
    cpu_part: float  # of its CPUs, that it uses


ROLES = (
    Role("web", 1024, 2, 6, 48, 0.2),
    Role("app", 2048, 2, 15, 128, 0.3),
    Role("db", 4096, 4, 60, 512, 0.4),
    Role("cache", 2048, 2, 120, 768, 0.2),
    Role("build", 4096, 4, 90, 640, 0.9),
    Role("files", 1024, 1, 3, 32, 0.05),
    Role("mail", 1024, 1, 4, 48, 0.1),
    Role("test", 512, 1, 2, 24, 0.02),
)


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """A guest to be added."""

    host: str
    uuid: str
    name: str
    memory_mib: int = 1024
    vcpus: int = 1
    running: bool = True
    config: Config = field(default_factory=Config)

    @classmethod
    def of(
        cls,
        host: str,
        name: str,
        *,
        running: bool = True,
        uuid: str = "",
        config: Config | None = None,
        memory_mib: int = 1024,
        vcpus: int = 1,
    ) -> GuestPlan:
        """A guest with a qcow2 disk, and a UUID of its own unless one is given."""
        config = config or Config()
        if not config.disks:
            config = replace(config, disks=(_disk(name),))
        return cls(host, uuid or str(uuids.uuid4()), name, memory_mib, vcpus, running, config)


def plan_guests(hosts: Sequence[SimulatedHost], wanted: int, *, seed: int) -> list[GuestPlan]:
    """Guests for these hosts, spread by free memory among those that have the guest's network.

    Raises HypervisorError when the hosts have no memory, or no network, for so many.
    """
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    free = {host.name: host.memory_mib for host in hosts}
    teams = sorted({network.removesuffix("-net") for host in hosts for network in host.networks})
    by_team = {
        team: [host for host in hosts if f"{team}-net" in host.networks or team in host.networks] for team in teams
    }
    numbers: Counter[tuple[str, str]] = Counter()
    plans = []
    for _ in range(wanted):
        team, role = chance.choice(teams), chance.choice(ROLES)
        host = max(by_team[team], key=lambda house: free[house.name])
        free[host.name] -= role.memory_mib
        if free[host.name] < 0:
            raise HypervisorError(f"The hosts have no memory for {wanted} guests.")
        numbers[team, role.name] += 1
        name = f"{team}-{role.name}-{numbers[team, role.name]:02d}"
        network = f"{team}-net" if f"{team}-net" in host.networks else team
        plans.append(_plan(chance, host.name, name, role, network))
    return plans


def _plan(chance: random.Random, host: str, name: str, role: Role, network: str) -> GuestPlan:
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in chance.randbytes(3))
    config = Config(
        description=f"{role.name} server",
        dirty_mib=role.dirty_mib * chance.uniform(0.5, 1.5),
        hot_mib=role.hot_mib,
        cpu_part=role.cpu_part,
        resident_part=round(chance.uniform(0.4, 0.9), 2),
        nics=(NIC(mac, "network", network, "virtio"),),
        disks=(_disk(name),),
    )
    return GuestPlan(
        host=host,
        uuid=str(uuids.UUID(int=chance.getrandbits(128), version=4)),
        name=name,
        memory_mib=role.memory_mib,
        vcpus=role.vcpus,
        running=chance.randrange(ONE_OFF_IN) != 0,
        config=config,
    )


def _disk(name: str) -> Disk:
    source = f"/var/lib/libvirt/images/{name}.qcow2"
    return Disk(target="vda", device="disk", source=source, format="qcow2", cache="none", read_only=False)
