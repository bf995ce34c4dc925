"""Keys, generated on first use into files that only their owner can read. No key has a default value."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path


def key_from_file(path: Path) -> str:
    """Read a key, or make one: 64 random bytes in hex, file mode 0600, directory 0700.

    Two processes that start at once agree on one key: it is written beside its place and linked into it, and the loser
    reads the winner's. Raises PermissionError when others may read the file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_hex(64))
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others; it must have mode 0600.")
    return path.read_text().strip()


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
    if not create and not path.exists():
        return None
    return SealKey(key_from_file(path).encode("ascii"))
