"""The contract between Slipway and a host. Each driver keeps all of it; `tests/hypervisor/contract.py` checks that.

A `Hypervisor` is one open connection to one host. Its methods block, may be called from several threads, and raise
only `hypervisor.errors.HypervisorError`. Guests are named by their UUID. A method says an intent; flags stay inside
the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from hypervisor.types import (
    NIC,
    Activity,
    ExecResult,
    GuestDefinition,
    GuestEvent,
    GuestNeeds,
    GuestState,
    HostFacts,
    HostIdentity,
    HostLacks,
    MigrationProgress,
    MigrationSpec,
    SavedSnapshot,
    SnapshotInfo,
)

T = TypeVar("T")


class Subscription(Protocol):
    """A running event subscription."""

    def stop(self) -> None:
        """End it; no event is delivered after this returns. Idempotent."""


class Connection(Protocol):
    """The connection itself."""

    uri: str

    def is_alive(self) -> bool:
        """Whether the connection still stands (no round trip)."""

    def together(self, work: Callable[[], T], *, seconds: float | None = 45.0) -> T:
        """Make the calls in `work` as one, which takes less time: one wait and one budget (None: as long as it takes)
        for all. Raises what `work` raises, OperationTimeout, HostUnreachable.
        """

    def close(self) -> None:
        """Close it; blocked calls in other threads fail with HostUnreachable. Idempotent."""


class Observing(Protocol):
    """Reading: never changes a guest."""

    def identify_host(self) -> HostIdentity:
        """Who the host is: as it was within the last minute, so seldom a round trip."""

    def describe_host(self) -> HostFacts:
        """The host's identity, size and versions."""

    def list_guests(self) -> list[GuestState]:
        """All guests by one bulk call that never waits for a busy guest (the fast lane)."""

    def guest_state(self, uuid: str) -> GuestState:
        """One guest's state. Raises GuestNotFound."""

    def guest_definition(self, uuid: str) -> GuestDefinition:
        """One guest's definition (the slow lane). Raises GuestNotFound."""

    def list_snapshots(self, uuid: str) -> list[SnapshotInfo]:
        """A guest's snapshots, parents before children. Raises GuestNotFound."""

    def list_networks(self) -> list[str]:
        """Names of the active libvirt networks and of the bridges that guests' NICs can join on this host."""

    def missing_networks(self, nics: Collection[NIC]) -> list[str]:
        """Names of the networks and bridges of these NICs that are not here; quicker than the list."""

    def guest_needs(self, uuid: str) -> GuestNeeds:
        """What the guest would need of another host. Raises GuestNotFound."""

    def missing_for(self, needs: GuestNeeds) -> HostLacks:
        """What of this is not here, by questions that change nothing. What seldom changes (machine types, firmware,
        pools) is as it was within the last minute.
        """

    def activity(self, uuid: str) -> Activity:
        """The job the host runs on this guest now. Raises GuestNotFound, GuestBusy when it cannot be told yet."""

    def pulse(self, uuid: str) -> int:
        """A count without a unit that grows whenever a processor of the guest ran, if only for a moment; of an idle
        guest some times a second. Raises GuestNotFound.
        """

    def cpu_times_ns(self) -> dict[str, int]:
        """CPU time that each running guest's present QEMU has used, in nanoseconds, by UUID; never waits for a busy
        guest. It begins anew with each start, and at the destination of a migration.
        """

    def disk_errors(self, uuid: str) -> list[str]:
        """Targets of disks in an error state; empty when all is well."""

    def watch(
        self, on_event: Callable[[GuestEvent], None], on_close: Callable[[str], None], *, lifecycle_only: bool = False
    ) -> Subscription:
        """Deliver events of all guests from a thread of the driver, or only those of their life cycle
        (`types.LIFECYCLE`), which costs the host less; `on_close(reason)` once if the connection breaks.
        """


class Powering(Protocol):
    """Power. Each returns when the call was taken, not when the guest has done it."""

    def start(self, uuid: str) -> None:
        """Power on. Raises GuestStateInvalid if it is on."""

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down (agent or ACPI). Raises GuestStateInvalid if it is off."""

    def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot (agent or ACPI). Raises GuestStateInvalid if it is off."""

    def force_off(self, uuid: str) -> None:
        """Pull the plug. Raises GuestStateInvalid if it is off."""

    def resume(self, uuid: str) -> None:
        """Let a paused guest run on. Raises GuestStateInvalid if it is not paused."""


class Snapshotting(Protocol):
    """Internal snapshots: disks and, of a running guest, memory, inside the qcow2 images."""

    def snapshot_create(self, uuid: str, name: str, description: str) -> SnapshotInfo:
        """Take one; the guest stands still meanwhile and runs on after. Raises SnapshotExists, SnapshotFailed,
        NotSupported.
        """

    def snapshot_revert(self, uuid: str, name: str, *, running: bool | None = None) -> None:
        """Go back to it; `running` None: as the snapshot was. Raises SnapshotNotFound, SnapshotFailed (the guest may
        be off).
        """

    def snapshot_delete(self, uuid: str, name: str) -> None:
        """Delete it; children move up. Raises SnapshotNotFound, SnapshotFailed."""

    def snapshots_export(self, uuid: str) -> list[SavedSnapshot]:
        """All metadata, parents first, enough to restore it elsewhere."""

    def snapshots_forget(self, uuid: str, names: Sequence[str]) -> None:
        """Drop metadata only, children first; data in the images stays. Names that are gone are passed over."""

    def snapshots_restore(self, uuid: str, saved: Sequence[SavedSnapshot]) -> None:
        """Put metadata back, parents first; what is there already is passed over. Idempotent."""


class Migrating(Protocol):
    """Live migration, called on the source."""

    def migrate(self, uuid: str, destination_uri: str, spec: MigrationSpec) -> None:
        """Migrate peer-to-peer; blocks until the hypervisors are done, which happens even if this process dies.

        Raises MigrationRefused, MigrationAborted, MigrationFailed, HostUnreachable. Neither a return nor an error
        proves where the guest runs: ask both hosts.
        """

    def canary_start(self, uuid: str) -> None:
        """Start a canary: a transient guest of `CANARY_MIB` without disks and network cards, named `canary_name`, that
        stays paused and is gone once it is switched off. It is there to be migrated. Raises NotSupported, GuestExists
        or HypervisorError when one of that UUID runs.
        """

    def dirty_rate(self, uuid: str, *, seconds: int = 1) -> int:
        """Measure how much memory a running guest writes, in bytes per second; takes `seconds` (1 to 60). Raises
        GuestNotFound, GuestStateInvalid for a guest that is off.
        """

    def migration_progress(self, uuid: str) -> MigrationProgress:
        """Progress of an outgoing migration; activity NONE when there is none. Raises GuestNotFound."""

    def completed_migration(self, uuid: str) -> MigrationProgress | None:
        """Figures of the last completed migration that this host knows of (asked of the destination too), without
        consuming them.
        """

    def migration_abort(self, uuid: str) -> None:
        """Ask to cancel. Raises GuestStateInvalid if there is nothing to cancel or it is past the point."""

    def migration_set_downtime(self, uuid: str, milliseconds: int) -> None:
        """Set the longest allowed stop-and-copy pause."""

    def migration_set_bandwidth(self, uuid: str, mib_per_second: int) -> None:
        """Cap the copy's bandwidth; 0 lifts the cap."""

    def migration_start_postcopy(self, uuid: str) -> None:
        """Switch to post-copy; only when the migration was started with `allow_postcopy`."""


class Storage(Protocol):
    """Storage pools, and whether two hosts see the same one."""

    def storage_pools(self) -> dict[str, str]:
        """Directory -> the active pool that is kept there."""

    def pool_free(self, pool: str) -> int:
        """Bytes that a pool has left."""

    def volume_create(self, pool: str, name: str, *, capacity_bytes: int, image_format: str = "raw") -> None:
        """Create a volume. Raises HypervisorError when there is one of that name."""

    def volume_remove(self, pool: str, name: str) -> None:
        """Remove a volume with its data; one that is gone is passed over."""

    def disk_capacity(self, uuid: str, target: str) -> int:
        """The size of a guest's disk as the guest sees it, in bytes. Raises GuestNotFound."""

    def files_in_use(self) -> set[str]:
        """Every file that a guest of this host names, as it runs, for its next start or in a snapshot, and what images
        in its pools are based on.
        """

    def volume_seen(self, pool: str, name: str) -> bool:
        """Whether the pool has a volume of that name, after a look at its directory."""

    def markers_remove(self, pool: str, prefix: str) -> None:
        """Remove all volumes whose names begin with this, which begins with `MARKER_PREFIX`."""


class Defining(Protocol):
    """Definitions: what recovery needs, no more."""

    def mark_operation(self, uuid: str, operation_id: str) -> None:
        """Write Slipway's operation id into the guest's metadata; "" removes it. It migrates along, and ends with the
        guest's run: the definition that is kept is not touched, unless the guest is off.
        """

    def set_autostart(self, uuid: str, enabled: bool) -> None:
        """Set whether the host starts the guest with itself."""

    def define(self, xml: str) -> str:
        """Define a guest without starting it; returns its UUID. Raises GuestExists on a name clash."""

    def redefine(self, uuid: str, xml: str) -> None:
        """Define a guest that is known here anew. Takes effect at its next start; console passwords stay as they are,
        since no definition that is read holds them. Raises GuestNotFound, GuestStateInvalid for a transient guest,
        GuestExists when its new name is another guest's, HypervisorError for another guest's definition.
        """

    def undefine(self, uuid: str) -> None:
        """Remove the definition and snapshot metadata; disks and NVRAM stay."""


class Agent(Protocol):
    """The QEMU guest agent. All it returns is hostile input."""

    def agent_ping(self, uuid: str, *, timeout_seconds: int = 5) -> None:
        """Raises AgentUnavailable unless the agent answers."""

    def agent_clock(self, uuid: str) -> float:
        """The guest's clock, in seconds since 1970. Raises AgentUnavailable, AgentRefused."""

    def agent_set_clock(self, uuid: str, at: float) -> None:
        """Set the guest's clock, to seconds since 1970. Raises AgentUnavailable, AgentRefused: the agent may set the
        clock and still fail at writing it to the guest's hardware clock.
        """

    def agent_exec(self, uuid: str, argv: Sequence[str], *, timeout_seconds: int = 60) -> ExecResult:
        """Run a program (an argument list, never a shell string) and wait. Raises AgentUnavailable, AgentRefused,
        OperationTimeout.
        """

    def agent_read_file(self, uuid: str, path: str, *, limit_bytes: int = 1_000_000) -> bytes:
        """Read at most `limit_bytes` of a guest's file. Raises AgentUnavailable, AgentRefused (no such file)."""

    def agent_write_file(self, uuid: str, path: str, content: bytes) -> None:
        """Write a guest's file, whole. Raises AgentUnavailable, AgentRefused."""


class Console(Protocol):
    """A guest's serial console, held open. Reading and writing may be done by two threads at a time."""

    def read(self, seconds: float) -> bytes:
        """What the guest wrote since, at most 64 KiB; empty when nothing came in so many seconds. Raises ConsoleEnded
        once everything that came before the end was read.
        """

    def write(self, data: bytes) -> None:
        """Type it. Raises ConsoleEnded, and OperationTimeout when the guest takes nothing any more."""

    def close(self) -> None:
        """Let go of it; a read in another thread ends with ConsoleEnded. Idempotent."""


class Consoles(Protocol):
    """Consoles."""

    def open_console(self, uuid: str) -> Console:
        """Open the guest's first serial console, for one at a time. Raises GuestNotFound, GuestStateInvalid (it is
        off), ConsoleTaken, NotSupported (it has none).
        """


class Hypervisor(
    Connection, Observing, Powering, Snapshotting, Migrating, Storage, Defining, Agent, Consoles, Protocol
):
    """One host, all of the above."""
