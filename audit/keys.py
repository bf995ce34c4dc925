"""Keys, generated on first use into files that only their owner can read. No key has a default value."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def key_from_file(path: Path) -> str:
    """Read a key, or make one: 64 random bytes in hex, file mode 0600, directory 0700.

    Two processes that start at once agree on one key: it is written beside its place and linked into it, and the loser
    reads the winner's. Raises PermissionError when others may read the file.
    """
    if not path.exists():
        put_key(path, new_secret())
    return _read(path)


def _read(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others; it must have mode 0600.")
    return path.read_text().strip()


def put_key(path: Path, secret: str) -> bool:
    """Write a key into a file that is not there yet, whole or not at all; returns whether it wasn't there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(secret)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_directory(path.parent)
    return True


def new_secret() -> str:
    """64 random bytes in hex."""
    return secrets.token_hex(64)


def sync_directory(path: Path) -> None:
    """Wait until the disk knows the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SealKey:
    """The sealer's secret, with its fingerprint, which stands beside each seal."""

    def __init__(self, secret: bytes) -> None:
        #: 16 hex digits that name the key and tell nothing of it.
        self.id = hashlib.sha256(b"slipway seal key\n" + secret).hexdigest()[:16]
        self._prepared = hmac.new(secret, digestmod="sha256")

    def code(self, message: bytes) -> str:
        """HMAC-SHA256 (RFC 2104) of a message, 64 hex digits."""
        copy = self._prepared.copy()
        copy.update(message)
        return copy.hexdigest()


def seal_key(path: Path, *, create: bool) -> SealKey | None:
    """The seal key of the file; None when there is no file and `create` is false. Raises PermissionError as above."""
    try:
        secret = key_from_file(path) if create else _read(path)
    except FileNotFoundError:
        return None
    return SealKey(secret.encode("ascii"))


class KeyRing:
    """The key that seals, the ones that it replaced, and the one that is to replace it, if there is one.

    All of them check; `sealing` alone makes codes.
    """

    def __init__(
        self,
        sealing: SealKey,
        *,
        retired: Iterable[SealKey] = (),
        coming: SealKey | None = None,
        path: Path | None = None,
    ) -> None:
        self.sealing = sealing
        self.coming = coming
        self._retired = tuple(retired)
        self.retired_ids = frozenset(key.id for key in self._retired)
        self._path = path
        self._by_id = {key.id: key for key in (*self._retired, sealing, *([coming] if coming else ()))}

    def get(self, key_id: str) -> SealKey | None:
        """The key of this id; None where it is not on the ring."""
        if key_id not in self._by_id and self._path is not None:
            fresh = key_ring(self._path, create=False)  # a rotation may have come since
            self._by_id |= fresh._by_id if fresh is not None else {}
        return self._by_id.get(key_id)

    def turned(self, coming: SealKey) -> KeyRing:
        """The ring after a rotation: `coming` seals, and what sealed checks."""
        return KeyRing(coming, retired=(*self._retired, self.sealing), path=self._path)


def retired_directory(path: Path) -> Path:
    """Where the keys lie that the one in `path` replaced, one file each: `audit-seal.retired/` beside it."""
    return path.with_suffix(".retired")


def coming_file(path: Path) -> Path:
    """Where the key lies that the sealer is to take up: `audit-seal.coming` beside the one that seals."""
    return path.with_suffix(".coming")


def key_ring(path: Path, *, create: bool) -> KeyRing | None:
    """The ring around the sealing key in `path`; None when there is no such key and `create` is false.

    Raises PermissionError when others may read one of the files.
    """
    # Before the sealing key: one that a rotation moves meanwhile is then read as what it was, and never missed.
    coming = seal_key(coming_file(path), create=False)
    sealing = seal_key(path, create=create)
    if sealing is None:
        return None
    retired = [SealKey(_read(old).encode("ascii")) for old in sorted(retired_directory(path).glob("*.key"))]
    return KeyRing(sealing, retired=retired, coming=coming, path=path)
