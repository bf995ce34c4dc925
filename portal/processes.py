"""Slipway's processes as command lines, for the supervisor, the tests and the service units alike."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from console.carrying import MESSAGE_BYTES
from portal import environment
from portal.supervisor import Process

#: Jobs and syncs that one worker carries out at once. Threads: libvirt's calls release the interpreter's lock.
WORKER_THREADS = 12
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def redis() -> Process:
    """The private Redis: on a socket, keeping nothing, since the database owns the jobs."""
    socket = environment.redis_socket()
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--maxmemory-policy": "noeviction",
        "--loglevel": "warning",
        "--dir": str(socket.parent),
    }
    return Process("redis", ["redis-server", *(word for pair in options.items() for word in pair)])


def web() -> Process:
    """The portal and the API."""
    return _served("web", "portal.asgi:application", settings.BASE_URL, "--lifespan", "off", "--ws", "none")


def console() -> Process:
    """The console gateway."""
    limits = ["--ws-max-size", str(2 * MESSAGE_BYTES), "--timeout-graceful-shutdown", "5"]
    options = ["--lifespan", "on", "--ws", "console.bounded:BoundedWebSockets", *limits]
    where = settings.CONSOLE_URL
    if urlsplit(where).hostname not in _LOOPBACK:  # something is in front of both: one port above the portal's
        where = f"ws://127.0.0.1:{_port(settings.BASE_URL) + 1}"
    return _served("console", "portal.console_asgi:application", where, *options)


def _served(name: str, application: str, url: str, *options: str) -> Process:
    """An ASGI application at an address of ours; on loopback, where something else answers at that address."""
    host = urlsplit(url).hostname
    where = ["--host", str(host) if host in _LOOPBACK else "127.0.0.1", "--port", str(_port(url))]
    quiet = ["--no-access-log", "--log-level", "warning"]
    return Process(name, [sys.executable, "-m", "uvicorn", application, *where, *quiet, *options])


def _port(url: str) -> int:
    address = urlsplit(url)
    return address.port or (443 if address.scheme in ("https", "wss") else 80)


def worker(name: str = "worker", queues: str = "slipway", threads: int = WORKER_THREADS) -> Process:
    """A worker: carries out jobs and syncs."""
    celery = [sys.executable, "-m", "celery", "-A", "portal", "worker", "--hostname", f"{name}@%h", "--queues", queues]
    pool = ["--pool", "threads", "--concurrency", str(threads)]
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    return Process(name, [*celery, *pool, *chatter])


def scheduler() -> Process:
    """Celery beat with its static schedule."""
    schedule = Path(settings.DATA_DIR) / "scheduler" / "schedule"
    schedule.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = ["-m", "celery", "-A", "portal", "beat", "--schedule", str(schedule), "--loglevel", "WARNING", "--pidfile="]
    return Process("scheduler", [sys.executable, *argv])


def watcher() -> Process:
    """Follows the hosts' events."""
    return Process("watcher", [sys.executable, "manage.py", "watcher"])


def sealer() -> Process:
    """Seals the audit record."""
    return Process("sealer", [sys.executable, "manage.py", "sealer"])


def all_processes() -> list[Process]:
    """What `script/server` runs, in the order of starting."""
    needs_redis = environment.redis_socket().as_posix() in settings.CELERY_BROKER_URL
    return [*([redis()] if needs_redis else []), sealer(), web(), console(), worker(), scheduler(), watcher()]
