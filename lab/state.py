"""What a lab is, written down before anything of it is made, so that `down` can always undo it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from lab.names import SEGMENTS, check_guest_name, check_lab_name

#: Kinds of guest: Debian with an agent; a kernel with busybox; the same, dirtying its memory.
KINDS = ("debian", "tiny", "writer")
DEFAULT_MEMORY_MIB = {"debian": 384, "tiny": 128, "writer": 192}


@dataclass(slots=True)
class Guest:
    """A guest as it is wanted. `host` is its first host's number; sizes in MiB, `rate` in MiB/s."""

    name: str
    uuid: str
    kind: str
    segment: str
    host: int
    address: str
    memory_mib: int
    start: bool = True
    rate: int = 0
    size: int = 0


@dataclass(slots=True)
class State:
    """A lab: its name, its subnet, how many hosts, which guests; with `tls`, hosts have certificates."""

    name: str
    subnet: str
    hosts: int
    guests: list[Guest] = field(default_factory=list)
    tls: bool = False

    @property
    def network(self) -> IPv4Network:
        """The subnet, parsed."""
        return IPv4Network(self.subnet)


@dataclass(frozen=True, slots=True)
class Wish:
    """A guest as it is asked for. `host` counts from 1; `memory_mib` None takes the kind's default.

    `rate` (MiB/s) and `size` (MiB) are what a writer writes; other kinds take no notice.
    """

    name: str
    kind: str
    host: int = 1
    segment: str | None = None
    memory_mib: int | None = None
    start: bool = True
    rate: int = 40
    size: int = 64


def parse_wish(text: str) -> Wish:
    """Read `NAME=KIND@HOST`, the way guests are asked for on the command line.

    Raises ValueError with the rule that was broken.
    """
    name, equals, rest = text.partition("=")
    kind, at, host = rest.partition("@")
    if not (equals and at and host.isascii() and host.isdigit()):
        raise ValueError(f"{text!r} is not NAME=KIND@HOST, for example acct-tiny=tiny@1")
    return check_wish(Wish(name, kind, int(host)))


def check_wish(wish: Wish) -> Wish:
    """Return the wish; raises ValueError when its name, kind, segment or a size is not possible."""
    check_guest_name(wish.name)
    if wish.kind not in KINDS:
        raise ValueError(f"{wish.kind!r} is not a kind of guest: {', '.join(KINDS)}")
    if wish.segment not in (None, *SEGMENTS):
        raise ValueError(f"{wish.segment!r} is not a segment: {', '.join(SEGMENTS)}")
    if wish.rate < 1 or wish.size < 1 or (wish.memory_mib or 1) < 1:
        raise ValueError("sizes and rates are whole numbers from 1")
    return wish


class Places:
    """The paths of one lab under a data directory."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name = check_lab_name(name)
        self.data_dir = data_dir.resolve()
        self.labs = self.data_dir / "lab"
        self.images = self.data_dir / "lab-images"
        self.lab = self.labs / name
        self.state = self.lab / "state.json"
        self.store = self.lab / "store"
        self.authority = self.lab / "authority"
        self.client_pki = self.lab / "client-pki"
        self.consoles = self.lab / "consoles"
        self.repository = self.lab / "repository"

    def host(self, host: str) -> Path:
        """The directory with a host's private files."""
        return self.lab / "hosts" / host

    def lock(self, what: str) -> Path:
        """The lock file for `what`; beside the lab, because `down` removes the lab."""
        return self.labs / f".{self.name}.{what}.lock"


def load(places: Places) -> State | None:
    """The lab's state, or None when there is no such lab."""
    try:
        raw = json.loads(places.state.read_text())
    except FileNotFoundError:
        return None
    return State(**{**raw, "guests": [Guest(**guest) for guest in raw["guests"]]})


def save(places: Places, state: State) -> None:
    """Write the state so that a reader, and a crash, sees the old one or the new one, whole."""
    places.lab.mkdir(parents=True, exist_ok=True)
    fresh = places.state.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(json.dumps(asdict(state), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(places.state)


def neighbours(places: Places) -> list[State]:
    """The other labs of this data directory."""
    names = [found.parent.name for found in sorted(places.labs.glob("*/state.json"))]
    others = [load(Places(name, places.data_dir)) for name in names if name != places.name]
    return [state for state in others if state is not None]


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file; with `shared`, together with other shared holders.

    The exclusive holder removes the file when it is done, so that nothing is left behind. A waiter
    that then holds a removed file sees so, and begins again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            same = os.fstat(handle).st_ino == path.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        os.close(handle)
    try:
        yield
    finally:
        if not shared:
            path.unlink(missing_ok=True)
        os.close(handle)
