"""The command line: JSON on standard output, what happens on standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from lab.estate import DEFAULT_GUESTS, TINY_GUESTS, Lab
from lab.names import FEWEST_HOSTS, MOST_HOSTS
from lab.shell import ROOT, LabError
from lab.state import Wish, parse_wish

SETS: dict[str, tuple[Wish, ...]] = {"default": DEFAULT_GUESTS, "tiny": TINY_GUESTS, "none": ()}


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="script/lab", description="A real libvirt estate on one machine.")
    commands = top.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="lab", help="the lab's name (default: lab)")
    default = os.environ.get("SLIPWAY_DATA_DIR") or str(ROOT / "var")
    common.add_argument("--data-dir", type=Path, default=Path(default), help="default: $SLIPWAY_DATA_DIR or var/")
    up = commands.add_parser("up", parents=[common], help="bring the lab up, or mend it; prints JSON")
    up.add_argument("--hosts", type=int, choices=range(FEWEST_HOSTS, MOST_HOSTS + 1), help="of a new lab (default: 2)")
    up.add_argument("--guests", choices=sorted(SETS), help="a set of guests (default, for a new lab: default)")
    up.add_argument("--guest", action="append", default=[], metavar="NAME=KIND@HOST", help="a guest; repeatable")
    up.add_argument("--tls", action="store_true", default=None, help="give the hosts of a new lab certificates")
    commands.add_parser("status", parents=[common], help="print the lab as JSON")
    commands.add_parser("down", parents=[common], help="remove the lab; the images stay")
    offer = commands.add_parser("offer", parents=[common], help="choose which package versions guests can get")
    offer.add_argument("version", nargs="*")
    reset = commands.add_parser("reset", parents=[common], help="make a guest as it was at first")
    reset.add_argument("guest")
    return top


def wishes(arguments: argparse.Namespace) -> list[Wish] | None:
    """The guests asked for; None when nothing was said."""
    if arguments.guests is None and not arguments.guest:
        return None
    return [*SETS[arguments.guests or "none"], *(parse_wish(text) for text in arguments.guest)]


def perform(arguments: argparse.Namespace) -> object:
    """Do what was asked; returns what to print as JSON, None for nothing."""
    lab = Lab(arguments.name, arguments.data_dir)
    if arguments.command == "up":
        return lab.up(wishes(arguments), hosts=arguments.hosts, tls=arguments.tls)
    if arguments.command == "status":
        return lab.status()
    if arguments.command == "offer":
        lab.offer(*arguments.version)
        return {"offered": lab.offered()}
    if arguments.command == "reset":
        return lab.reset_guest(arguments.guest)
    return {"removed": lab.down()}


def main() -> int:
    """Entry point; returns the exit status: 0, 1 with one sentence on standard error, 130 after Ctrl-C."""
    arguments = parser().parse_args()
    try:
        print(json.dumps(perform(arguments), indent=2))
    except (LabError, ValueError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `up` goes on from here, `down` removes what is there", file=sys.stderr)
        return 130
    return 0
