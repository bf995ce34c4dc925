"""What the environment says: variables, all optional, read once and validated at start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from audit.syslog import Destination

BASE_DIR = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """The directory that holds everything Slipway writes (`SLIPWAY_DATA_DIR`, default `var/`); made on demand, mode
    0700.
    """
    path = Path(os.environ.get("SLIPWAY_DATA_DIR") or BASE_DIR / "var").resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def database_url() -> str:
    """`SLIPWAY_DATABASE_URL`, default an SQLite file in the data directory."""
    return os.environ.get("SLIPWAY_DATABASE_URL") or f"sqlite:///{data_dir() / 'slipway.sqlite3'}"


def broker_url() -> str:
    """`SLIPWAY_BROKER_URL`, default a private Redis on a socket, or Celery's filesystem broker where Redis is not
    installed.
    """
    configured = os.environ.get("SLIPWAY_BROKER_URL")
    if configured:
        return configured
    if shutil.which("redis-server"):
        return f"redis+socket://{redis_socket()}"
    return "filesystem://"


def redis_socket() -> Path:
    """The private Redis's socket."""
    return data_dir() / "redis" / "redis.sock"


def base_url() -> str:
    """`SLIPWAY_BASE_URL`: where people reach the portal."""
    return (os.environ.get("SLIPWAY_BASE_URL") or "http://127.0.0.1:8000").rstrip("/")


def console_url() -> str:
    """`SLIPWAY_CONSOLE_URL`: where browsers reach the console gateway, `ws://` or `wss://`; default the portal's
    address, one port higher. Raises ValueError.
    """
    configured = os.environ.get("SLIPWAY_CONSOLE_URL")
    if configured:
        if urlsplit(configured).scheme not in ("ws", "wss"):
            raise ValueError(f"SLIPWAY_CONSOLE_URL must begin with ws:// or wss://, unlike {configured}.")
        return configured
    base = urlsplit(base_url())
    scheme, usual = ("wss", 443) if base.scheme == "https" else ("ws", 80)
    host = f"[{base.hostname}]" if ":" in (base.hostname or "") else base.hostname
    return f"{scheme}://{host}:{(base.port or usual) + 1}"


def allowed_host_schemes() -> frozenset[str]:
    """Transports a host's address may use; `SLIPWAY_HOST_SCHEMES` adds to the safe ones (comma-separated)."""
    from hypervisor.uri import ALL_SCHEMES, SAFE_SCHEMES

    extra = {name.strip() for name in os.environ.get("SLIPWAY_HOST_SCHEMES", "").split(",")} - {""}
    unknown = extra - ALL_SCHEMES
    if unknown:
        raise ValueError(f"SLIPWAY_HOST_SCHEMES names unknown transports: {', '.join(sorted(unknown))}")
    return SAFE_SCHEMES | extra


def audit_keep_months() -> int | None:
    """`SLIPWAY_AUDIT_KEEP_MONTHS`: how much of the record an archive leaves when it is not told; None, everything."""
    text = os.environ.get("SLIPWAY_AUDIT_KEEP_MONTHS")
    return int(text) if text else None


def audit_syslog() -> Destination | None:
    """`SLIPWAY_AUDIT_SYSLOG`: where a syslog listens that is sent the anchors too; None, nowhere."""
    from audit.syslog import destination

    text = os.environ.get("SLIPWAY_AUDIT_SYSLOG")
    try:
        return destination(text) if text else None
    except ValueError as error:
        raise ValueError(f"SLIPWAY_AUDIT_SYSLOG is wrong: {error}") from error
