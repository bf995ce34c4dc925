"""Where the simulated estate lives: one sqlite3 file that all processes and threads share.

The file's path is `SLIPWAY_SIM_STATE`, else `simulator.sqlite3` in `SLIPWAY_DATA_DIR`, else in the checkout's `var/`.
It is in WAL mode, so that readers never wait for a writer; a change is one immediate transaction. Nothing in it is
precious, so commits are not flushed to the disk: they outlive a killed process, not a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypervisor.errors import HypervisorError

SCHEMA_VERSION = 2
LOCK_TIMEOUT_SECONDS = 30.0

#: `hosts.epoch` grows whenever the connections to a host break. `guests.job` is what the host is doing to a guest, by
#: the names of `guests.Job`. `schedule` holds what is to happen, at `due` (seconds since 1970).
SCHEMA = """
CREATE TABLE hosts (
    name TEXT PRIMARY KEY, cluster TEXT NOT NULL, uuid TEXT NOT NULL, cpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL, cpu_model TEXT NOT NULL, link_mib REAL NOT NULL, networks TEXT NOT NULL,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE guests (
    host TEXT NOT NULL REFERENCES hosts(name), uuid TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, memory_mib INTEGER NOT NULL, vcpus INTEGER NOT NULL, persistent INTEGER NOT NULL DEFAULT 1,
    autostart INTEGER NOT NULL DEFAULT 0, operation_id TEXT NOT NULL DEFAULT '', job TEXT NOT NULL DEFAULT '',
    agent_up INTEGER NOT NULL DEFAULT 0, boot TEXT NOT NULL DEFAULT '', ran_ns INTEGER NOT NULL DEFAULT 0,
    running_since REAL, config TEXT NOT NULL,
    PRIMARY KEY (host, uuid), UNIQUE (host, name)
) WITHOUT ROWID;
CREATE INDEX guests_by_uuid ON guests (uuid);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL, parent TEXT NOT NULL,
    is_current INTEGER NOT NULL, created_at REAL NOT NULL, state TEXT NOT NULL, description TEXT NOT NULL,
    disks TEXT NOT NULL, domain TEXT NOT NULL, UNIQUE (host, uuid, name)
);
CREATE TABLE images (
    uuid TEXT NOT NULL, tag TEXT NOT NULL, boot TEXT NOT NULL, agent_up INTEGER NOT NULL, machine TEXT,
    PRIMARY KEY (uuid, tag)
) WITHOUT ROWID;
CREATE TABLE machines (uuid TEXT PRIMARY KEY, contents TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE replies (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, pattern TEXT NOT NULL, exit_code INTEGER NOT NULL, stdout BLOB NOT NULL,
    stderr BLOB NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE migrations (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, started REAL NOT NULL,
    speed REAL NOT NULL, model TEXT NOT NULL, notes TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT ''
);
CREATE INDEX migrations_by_uuid ON migrations (uuid, id);
CREATE TABLE volumes (cluster TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (cluster, name)) WITHOUT ROWID;
CREATE TABLE schedule (
    id INTEGER PRIMARY KEY, due REAL NOT NULL, kind TEXT NOT NULL, host TEXT NOT NULL, uuid TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX schedule_by_due ON schedule (due, id);
CREATE INDEX schedule_by_guest ON schedule (uuid, host);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, host TEXT NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL, detail TEXT NOT NULL, data TEXT NOT NULL
);
CREATE TABLE faults (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, host TEXT NOT NULL, uuid TEXT NOT NULL, times INTEGER,
    value REAL NOT NULL, planted REAL NOT NULL
);
"""


def state_path() -> Path:
    """The path of the estate's file, from the environment."""
    if named := os.environ.get("SLIPWAY_SIM_STATE"):
        return Path(named)
    data_dir = os.environ.get("SLIPWAY_DATA_DIR")
    return (Path(data_dir) if data_dir else _checkout() / "var") / "simulator.sqlite3"


def speed() -> float:
    """How many simulated seconds pass in one: `SLIPWAY_SIM_SPEED`, 1 unless set. HypervisorError if senseless."""
    text = os.environ.get("SLIPWAY_SIM_SPEED", "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100_000:
        raise HypervisorError(f"SLIPWAY_SIM_SPEED is {text!r}, not a number above 0 and up to 100000.")
    return value


class Store:
    """One estate file. Connections are per thread, and never cross a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode: each read sees the newest commit."""
        pid = os.getpid()
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is None or held[0] != pid:
            held = (pid, _open(self.path))
            # A connection inherited by a fork is kept, unused: closing it would disturb the parent's locks.
            self._local.inherited = getattr(self._local, "held", None)
            self._local.held = held
        return held[1]

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that may write; rolled back when the block raises."""
        db = self.connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


_stores: dict[Path, Store] = {}
_stores_lock = threading.Lock()


def open_store() -> Store:
    """The estate that the environment names now; created, empty, if it is not there."""
    path = state_path().absolute()
    with _stores_lock:
        if path not in _stores or not path.exists():
            _stores[path] = Store(path)
        return _stores[path]


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2]


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    _enter_wal(db)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA foreign_keys=ON")
    if _version(db) == 0:
        _create(db)
    if (version := _version(db)) != SCHEMA_VERSION:
        db.close()
        raise HypervisorError(
            f"{path} holds a simulated estate of format {version}, this is {SCHEMA_VERSION}; remove the file."
        )
    return db


def _enter_wal(db: sqlite3.Connection) -> None:
    """SQLite does not wait for the lock that changing the journal takes, so several first openers must take turns."""
    give_up = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db) == 0:
            for statement in SCHEMA.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
