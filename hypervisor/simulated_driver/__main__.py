"""The simulated estate from the command line: `python -m hypervisor.simulated_driver --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver import accidents, estate, faults, open_simulated
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.store import open_store, state_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 with a sentence on standard error."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except HypervisorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hypervisor.simulated_driver", description="Look at the simulated estate and let it go wrong."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("hosts", help="list the hosts").set_defaults(run=_hosts)
    command = commands.add_parser("guests", help="list the guests of a host, or of all")
    command.add_argument("host", nargs="?", default="")
    command.set_defaults(run=_guests)
    command = commands.add_parser("populate", help="add hosts, and guests of three teams on them")
    command.add_argument("hosts", type=int)
    command.add_argument("guests", type=int)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--prefix", default="sim-", help="of the hosts' names")
    command.set_defaults(run=_populate)
    commands.add_parser("default", help="add the default estate, if there is none").set_defaults(run=_default)
    commands.add_parser("wipe", help="remove everything").set_defaults(run=_wipe)
    commands.add_parser("faults", help="list the planted faults").set_defaults(run=_faults)
    command = commands.add_parser("plant", help="plant a fault")
    command.add_argument("kind", type=Fault, choices=list(Fault), metavar="KIND")
    command.add_argument("host")
    command.add_argument("guest", nargs="?", default="", help="a UUID; every guest of the host without it")
    command.add_argument("--times", type=int)
    command.add_argument("--value", type=float, help="seconds or per cent, as the kind has it")
    command.set_defaults(run=_plant)
    command = commands.add_parser("clear", help="take planted faults away")
    command.add_argument("host", nargs="?", default="")
    command.set_defaults(run=_clear)
    command = commands.add_parser("accident", help="let something happen once, now")
    command.add_argument("kind", choices=["kill-daemon", "crash-host", "crash-guest"])
    command.add_argument("host")
    command.add_argument("guest", nargs="?", default="")
    command.set_defaults(run=_accident)
    return parser


def _hosts(_chosen: argparse.Namespace) -> None:
    print(f"{state_path()}")
    for row in open_store().connection().execute("SELECT * FROM hosts ORDER BY name").fetchall():
        state = "down" if faults.lasting(open_store().connection(), Fault.HOST_DOWN, row["name"]) else "up"
        print(f"sim://{row['name']}/  {row['cluster']}  {row['cpus']} CPUs  {row['memory_mib']} MiB  {state}")


def _guests(chosen: argparse.Namespace) -> None:
    for host in [chosen.host] if chosen.host else estate.host_names():
        connection = open_simulated(host)
        for guest in sorted(connection.list_guests(), key=lambda guest: guest.name):
            state = f"{guest.state}/{guest.reason}"
            print(f"{host}  {guest.uuid}  {state:24}  {guest.memory_mib:6} MiB  {guest.name}")
        connection.close()


def _populate(chosen: argparse.Namespace) -> None:
    memory = max(64 * 1024, 4 * 1024 * chosen.guests // max(1, chosen.hosts))
    networks = ("accounting-net", "engineering-net", "sales-net")
    hosts = [
        estate.SimulatedHost(f"{chosen.prefix}{number:03d}", memory_mib=memory, networks=networks)
        for number in range(1, chosen.hosts + 1)
    ]
    plans = estate.populate(hosts, chosen.guests, seed=chosen.seed)
    print(f"{len(hosts)} hosts and {len(plans)} guests added.")


def _default(_chosen: argparse.Namespace) -> None:
    estate.ensure_default_estate()


def _wipe(_chosen: argparse.Namespace) -> None:
    estate.wipe()


def _faults(_chosen: argparse.Namespace) -> None:
    for fault in faults.planted():
        times = "until cleared" if fault.times is None else f"{fault.times} times"
        print(f"{fault.kind}  {fault.host}  {fault.uuid or 'every guest'}  {times}  value {fault.value:g}")


def _plant(chosen: argparse.Namespace) -> None:
    faults.plant(chosen.kind, chosen.host, chosen.guest, times=chosen.times, value=chosen.value)


def _clear(chosen: argparse.Namespace) -> None:
    print(f"{faults.clear(host=chosen.host)} cleared.")


def _accident(chosen: argparse.Namespace) -> None:
    if chosen.kind == "kill-daemon":
        accidents.kill_daemon(chosen.host)
    elif chosen.kind == "crash-host":
        accidents.crash_host(chosen.host)
    else:
        accidents.crash_guest(chosen.host, chosen.guest)


if __name__ == "__main__":
    sys.exit(main())
