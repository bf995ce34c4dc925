"""`python -m bench NAME [N]`; without a name, what there is."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "access": "lists and checks at 100,000 VMs and 2,000,000 permission rows, over django-guardian (PostgreSQL)",
    "migrate": "live migration, portal over virsh (lab)",
    "converge": "guests that write fast over a slow link: every policy, over virsh (lab)",
    "crashes": "faults in the middle of migrations, 200 rounds by a seed (lab; --runs, --seed, --only)",
    "drain": "a host emptied and filled again, portal over xargs and virsh (lab)",
    "snapshot": "snapshot create and revert, portal over virsh (lab)",
    "past": "who could do what at a moment of the past, with 1,000,000 events (embedded database, or yours)",
    "audit": "the record: its cost for writers, its seals, its verification (PostgreSQL, npm)",
    "balance": "planning of a rebalance over Ganeti's hbal, and against an LP bound (ganeti-htools)",
    "vmlist": "the VM list at 100, 1,000 and 10,000 VMs (embedded database)",
}


def main() -> int:
    """Run one benchmark; status 2 for a name that there is not."""
    if len(sys.argv) < 2:
        for name, what in NAMES.items():
            print(f"{name:10} {what}")
        return 0
    name, *rest = sys.argv[1:]
    if name not in NAMES:
        print(f"There is no benchmark {name}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"bench.{name}")
    if hasattr(module, "command"):
        module.command(rest)
    else:
        module.main(*map(int, rest))
    return 0


sys.exit(main())
