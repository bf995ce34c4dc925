"""The first process of a host: makes its private mounts, starts libvirtd, reaps what dies.

Runs as `python3 -m lab.keeper HOST_DIRECTORY HOST_NAME [--adopt]`, already inside the host's
network, mount and UTS namespaces. SIGUSR1 asks for libvirtd when none is running; SIGTERM ends.

libvirtd starts QEMU detached, so a QEMU process whose daemon died, or that simply ended, belongs to
the nearest "subreaper" (prctl(2)). A machine whose process 1 does not reap would make libvirt wait
40 s for each process that it ended, so each host brings a reaper of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from lab.shell import ENVIRONMENT, run

#: From linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36

#: What a host has for itself: place in the machine's file system, name in the host's directory.
PRIVATE = {
    "/etc/libvirt": "etc",
    "/var/lib/libvirt": "lib",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
    "/run/libvirt": "run",
    "/etc/pki": "pki",
    "/etc/hosts": "hosts",
    "/etc/hostname": "hostname",
}
SIGNALS = {signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM}
DAEMON = ("libvirtd", "--listen", "--pid-file", "/run/libvirt/libvirtd.pid")


def make_private(directory: Path, name: str) -> None:
    """Give this namespace its own libvirt directories, host name, host table and /sys."""
    socket.sethostname(name)
    for place, own in PRIVATE.items():
        if not (directory / own).exists():
            continue  # certificates are for labs with TLS
        if (directory / own).is_dir():
            Path(place).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", directory / own, place)
    # A message bus would lead libvirtd to the machine's own machined and firewalld.
    if Path("/run/dbus").is_dir():
        run("mount", "--bind", directory / "no-dbus", "/run/dbus")
    # /sys shows the network of the namespace that mounted it. The old one goes with its cgroups,
    # so that libvirt leaves those of the machine alone.
    run("umount", "--lazy", "/sys")
    run("mount", "-t", "sysfs", "sysfs", "/sys")


def start_daemon(directory: Path) -> int:
    """Start libvirtd as a child of this process; its complaints go to the host's log directory."""
    complaints = str(directory / "log" / "libvirtd.stderr")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, complaints, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # This process blocks signals; a daemon that inherited that would miss its own.
    return os.posix_spawnp(DAEMON[0], DAEMON, ENVIRONMENT, file_actions=actions, setsigmask=[], setsid=True)


def reap() -> set[int]:
    """Collect every child that has ended."""
    ended: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.add(pid)


def serve(directory: Path) -> None:
    """Start libvirtd, then reap and obey signals until SIGTERM."""
    daemon = 0
    while True:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGTERM:
            return
        if daemon in reap():
            daemon = 0
        if number == signal.SIGUSR1 and daemon == 0:
            daemon = start_daemon(directory)


def main(arguments: list[str]) -> None:
    """Entry point; see the top of this file."""
    # Caught, so that it can be seen from outside that a signal no longer ends this process; blocked
    # at once, so that a request that comes early is kept for `serve`.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    directory, name = Path(arguments[0]), arguments[1]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    if "--adopt" not in arguments:
        make_private(directory, name)
    serve(directory)


if __name__ == "__main__":
    main(sys.argv[1:])
