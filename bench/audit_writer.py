"""One writer of `bench audit`, a process: `python -m bench.audit_writer NUMBER OF`.

Reads lines `TRANSACTION ARM SECONDS`, works that long, and answers with a line of JSON. The arms are `plain` and
`audited`; the transactions:

- `service`: a service as it is, `vm_assign_segment`, with its checks of rights.
- `change`: one VM read and locked, changed and saved: what each service does at the least.
- `update`: one UPDATE, and nothing else: the barest that can be recorded.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from unittest.mock import patch
from uuid import uuid4

import django
from django.db import transaction


class Writer:
    """Works on VMs of its own, so that writers wait for the disk and the record, not for each other's locks."""

    def __init__(self, number: int, of: int) -> None:
        from access.models import User
        from inventory.models import VM, Segment

        vms = VM.objects.select_related("segment").order_by("pk")
        self._vms = [vm for place, vm in enumerate(vms) if place % of == number]
        self._segments = list(Segment.objects.all())
        self.person = User.objects.get(username="writer")
        self._rng = random.Random(number)  # noqa: S311
        self._count = 0

    def update(self, audited: bool) -> None:
        """One row updated, without having been read."""
        from audit.events import EventAction
        from audit.record import record

        vm, title = self._next()
        with transaction.atomic():
            type(vm).objects.filter(pk=vm.pk).update(title=title)
            if audited:
                record(EventAction.VM_CHANGED, target=vm, reason="A ticket", after={"title": title})

    def change(self, audited: bool) -> None:
        """One row locked, read, changed and saved."""
        from audit.events import EventAction
        from audit.record import record

        known, title = self._next()
        with transaction.atomic():
            vm = type(known).objects.select_for_update(of=("self",)).select_related("segment").get(pk=known.pk)
            before, vm.title = vm.title, title
            vm.save(update_fields=["title"])
            if audited:
                change = {"before": {"title": before}, "after": {"title": title}}
                record(EventAction.VM_CHANGED, target=vm, reason="A ticket", **change)

    def service(self, audited: bool) -> None:
        """A VM assigned to a segment; without audit, the same with nothing where it calls `record()`."""
        from inventory.services import segments

        vm, title = self._next()
        arguments = {"actor": self.person, "vm": vm, "segment": self._rng.choice(self._segments), "reason": title}
        if audited:
            segments.vm_assign_segment(**arguments)
        else:
            with patch.object(segments, "record"):
                segments.vm_assign_segment(**arguments)

    def _next(self) -> tuple[object, str]:
        self._count += 1
        return self._rng.choice(self._vms), f"title {self._count}"


def work(once: Callable[[bool], None], audited: bool, seconds: float) -> dict[str, object]:
    """Transactions one after another; how many, how long each took in ms, and the processor time of this process."""
    times = []
    cpu, end = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        once(audited)
        times.append(round((time.perf_counter() - began) * 1000, 3))
    return {"transactions": len(times), "cpu_seconds": time.process_time() - cpu, "times_ms": times}


def main() -> None:
    """Until the input ends."""
    django.setup()
    from audit.context import acting_as

    writer = Writer(int(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        transaction_name, arm, seconds = line.split()
        with acting_as(writer.person, via="api", request_id=str(uuid4()), source_address="192.0.2.7"):
            done = work(getattr(writer, transaction_name), arm == "audited", float(seconds))
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
