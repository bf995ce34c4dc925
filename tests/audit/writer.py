"""A process that records from several threads, and prints how much: `python -m tests.audit.writer THREADS EVENTS`.

Some of its transactions stay open for a moment, so that ids are committed out of order, and some are rolled back.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import django
from django.db import connection, transaction


class _Abandoned(Exception):
    pass


def _write(events: int) -> int:
    from audit.context import acting
    from audit.events import EventAction
    from audit.record import Target, record

    rng = random.Random()
    committed = 0
    for number in range(events):
        try:
            with transaction.atomic(), acting(actor_name="writer", job_id=str(number)):
                record(EventAction.VM_CHANGED, target=Target("vm", str(number)), after={"number": number})
                if rng.random() < 0.1:
                    time.sleep(rng.random() * 0.02)
                if rng.random() < 0.1:
                    raise _Abandoned
            committed += 1
        except _Abandoned:
            pass
    connection.close()
    return committed


def main() -> None:
    """Run the threads and print the number of events that are in the record now because of them."""
    threads, events = int(sys.argv[1]), int(sys.argv[2])
    django.setup()
    with ThreadPoolExecutor(threads) as pool:
        print(sum(pool.map(_write, [events] * threads)))


if __name__ == "__main__":
    main()
