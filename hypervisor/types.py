"""The words in which a hypervisor is spoken of: frozen dataclasses and enums, no behaviour.

Units are in the names: `_kib`, `_mib`, `_bytes`, `_ms`, `_bps` (bytes a second). Times are aware UTC datetimes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class PowerState(StrEnum):
    """What a guest is doing, as its host says."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUT_OFF = "shut_off"
    CRASHED = "crashed"
    SUSPENDED = "suspended"  # guest-initiated sleep (libvirt: pmsuspended)
    UNKNOWN = "unknown"


class StateReason(StrEnum):
    """Why a guest is in its state, as far as Slipway decides by it (libvirt has more; those are OTHER)."""

    OTHER = "other"
    BOOTED = "booted"
    MIGRATED = "migrated"  # running: arrived here; shut off: left for another host
    MIGRATION = "migration"  # paused: incoming, or in stop-and-copy
    FROM_SNAPSHOT = "from_snapshot"
    UNPAUSED = "unpaused"
    MIGRATION_CANCELED = "migration_canceled"
    SAVE_CANCELED = "save_canceled"
    POSTCOPY = "postcopy"
    POSTCOPY_FAILED = "postcopy_failed"
    USER = "user"
    SAVE = "save"
    SNAPSHOT = "snapshot"
    IO_ERROR = "io_error"
    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    CRASHED = "crashed"
    FAILED = "failed"


class Activity(StrEnum):
    """The job that a hypervisor itself is running on a guest."""

    NONE = "none"
    MIGRATION_OUT = "migration_out"
    MIGRATION_IN = "migration_in"
    SNAPSHOT = "snapshot"
    OTHER = "other"


#: The namespace of our mark in a guest's metadata; the detail of the event that tells of its change.
MARK_NAMESPACE = "urn:slipway:operation:1"


#: The size of a canary: a guest without disks that proves the path between two hosts by travelling it.
CANARY_MIB = 32


#: With this the names of the volumes begin that show whether two hosts see the same storage.
MARKER_PREFIX = "slipway-marker-"


def canary_name(uuid: str) -> str:
    """What a canary is called on the hosts."""
    return f"slipway-canary-{uuid[:8]}"


class EventKind(StrEnum):
    """What a host announces about a guest. Events are hints: the state is asked for again before deciding."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    REBOOTED = "rebooted"
    CRASHED = "crashed"
    METADATA_CHANGED = "metadata_changed"
    MIGRATION_ITERATION = "migration_iteration"
    JOB_COMPLETED = "job_completed"
    AGENT_CONNECTED = "agent_connected"
    AGENT_DISCONNECTED = "agent_disconnected"
    OTHER = "other"


#: The events of a guest that comes, goes, runs or stands still. libvirt's life cycle also has some of kind OTHER, as of
#: a guest that is shutting down.
LIFECYCLE = frozenset(
    {
        EventKind.DEFINED,
        EventKind.UNDEFINED,
        EventKind.STARTED,
        EventKind.SUSPENDED,
        EventKind.RESUMED,
        EventKind.STOPPED,
        EventKind.CRASHED,
    }
)


class SnapshotKind(StrEnum):
    """Where a snapshot keeps what it holds."""

    INTERNAL = "internal"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """What of a host changes with an upgrade or a reboot only."""

    hostname: str
    host_uuid: str
    cpus: int
    cpu_model: str
    hypervisor: str  # "QEMU", "simulated"
    hypervisor_version: tuple[int, int, int]
    library_version: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class HostFacts(HostIdentity):
    """A host at one moment."""

    memory_mib: int
    memory_free_mib: int


@dataclass(frozen=True, slots=True)
class GuestState:
    """The cheap facts of one guest (the fast lane)."""

    uuid: str
    name: str
    state: PowerState
    reason: StateReason
    memory_mib: int
    vcpus: int
    persistent: bool = True


@dataclass(frozen=True, slots=True)
class NIC:
    """One network card; `source` is the libvirt network's or the bridge's name."""

    mac: str
    source_kind: str  # "network", "bridge", "direct", ...
    source: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """One drive. `source` is a path or URL, "" when empty."""

    target: str
    device: str  # "disk", "cdrom", "floppy"
    source: str
    format: str
    cache: str
    read_only: bool
    shareable: bool = False
    source_kind: str = "file"


@dataclass(frozen=True, slots=True)
class GuestDefinition:
    """What is slow to ask about a guest (the slow lane): its definition, parsed, and as XML."""

    uuid: str
    name: str
    title: str
    description: str
    virt_type: str  # "kvm", "qemu" (software emulation), "simulated"
    machine: str
    cpu_model: str
    kernel_cmdline: str
    loader: str
    memory_mib: int
    vcpus: int
    persistent: bool
    autostart: bool
    has_managed_save: bool
    agent_channel: bool
    agent_connected: bool
    hostdevs: tuple[str, ...]
    filesystems: tuple[str, ...]
    nics: tuple[NIC, ...]
    disks: tuple[Disk, ...]
    operation_id: str  # Slipway's mark in the domain metadata, "" if none
    xml: str


@dataclass(frozen=True, slots=True)
class GuestNeeds:
    """What a guest asks of a host that it moves to, read from the definition that would be sent there."""

    virt_type: str
    arch: str
    emulator: str
    machine: str
    cpu_mode: str = ""  # "custom", "host-passthrough", ...; "" when the hypervisor chooses
    cpu_features: tuple[str, ...] = ()  # those that are asked for by name
    cpu_xml: str = ""  # for the destination to compare with its own
    firmware: str = ""  # path of the image, "" for the machine's own
    firmware_listed: bool = False  # whether the host it runs on lists that image among its own
    files: tuple[str, ...] = ()  # beside the writable disks: kernel, inserted media, ...
    filters: tuple[str, ...] = ()  # of its network cards
    nics: tuple[NIC, ...] = ()
    ties: tuple[str, ...] = ()  # devices and settings with which it cannot leave, in words
    busy_disks: tuple[str, ...] = ()  # targets that are being copied or merged


@dataclass(frozen=True, slots=True)
class HostLacks:
    """What a host has not of a guest's needs. A text is the host's own reason; all empty: nothing speaks against it."""

    networks: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    machine: str = ""
    cpu: str = ""
    firmware: str = ""
    files: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()  # files outside every storage pool: a host does not tell whether it has them


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot as the host lists it."""

    name: str
    description: str
    created_at: datetime
    state: PowerState  # state of the guest that the snapshot holds
    kind: SnapshotKind
    has_memory: bool
    parent: str  # "" at a root
    is_current: bool
    disks: tuple[str, ...]  # targets held


@dataclass(frozen=True, slots=True)
class SavedSnapshot:
    """A snapshot's metadata, taken off a host to be put on another one."""

    name: str
    parent: str
    is_current: bool
    xml: str


@dataclass(frozen=True, slots=True)
class MigrationSpec:
    """How to migrate. `unsafe` only where shared storage was proved by other means; it is recorded."""

    bandwidth_mib: int = 0  # 0: no cap
    max_downtime_ms: int = 300
    auto_converge: bool = True
    allow_postcopy: bool = False
    unsafe: bool = False
    persistent: bool = True
    resume: bool = False  # go on with a post-copy that broke off; all else as at its start
    encrypted: bool = False  # the stream between the two QEMUs, by their certificates
    copied: tuple[str, ...] = ()  # targets of disks whose contents are copied, into volumes that are there already


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """A migration as the source sees it now, or as it ended (`completed`)."""

    activity: Activity
    completed: bool = False
    elapsed_ms: int = 0
    downtime_ms: int = 0  # expected while it runs, measured when completed
    setup_ms: int = 0
    memory_total_bytes: int = 0
    memory_remaining_bytes: int = 0
    memory_processed_bytes: int = 0
    memory_bps: int = 0
    dirty_bps: int = 0
    iteration: int = 0
    throttle_percent: int = 0
    disk_total_bytes: int = 0
    disk_remaining_bytes: int = 0
    postcopy_requests: int = 0


@dataclass(frozen=True, slots=True)
class GuestEvent:
    """One announcement of a host. `reason` is meaningful for state changes only."""

    kind: EventKind
    uuid: str
    name: str
    at: datetime
    monotonic: float
    detail: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a program run by the guest agent came to. Output is untrusted bytes from the guest."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False
