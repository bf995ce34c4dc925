"""Going on with a post-copy that broke off: both halves of the guest's memory are there, and the link is to be made
again. Nothing else is touched.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hypervisor.errors import HypervisorError
from hypervisor.types import MigrationSpec
from inventory.models import Host
from jobs.errors import OutcomeUnknown

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

log = logging.getLogger(__name__)

#: Before the second try, in seconds; doubled before each further one.
FIRST_PAUSE = 5.0
#: libvirt resumes a post-copy since 8.5; in 11.2 and 11.3 the destination's daemon crashes over it (fixed in 11.4).
FIRST_VERSION = (8, 5, 0)
CRASHING_VERSIONS = ((11, 2, 0), (11, 4, 0))


class Reconnection:
    """The tries of one attempt at settling a migration."""

    def __init__(self, context: JobContext, source: Host, destination: Host, spec: MigrationSpec) -> None:
        self._context, self._source, self._destination, self._spec = context, source, destination, spec
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def try_again(self) -> None:
        """Resume the post-copy, if it is time to; a try that fails is made up for by a later one.

        Raises OutcomeUnknown where a host's libvirt cannot do it.
        """
        if time.monotonic() < self._not_before:
            return
        context, here = self._context, self._context.on(self._source)
        for host in (self._source, self._destination):
            facts = context.on(host).describe_host()
            version = facts.library_version
            if facts.hypervisor == "QEMU" and not can_resume(version):
                raise OutcomeUnknown(
                    f"The post-copy of {context.vm} broke off, and libvirt {'.'.join(map(str, version))} on {host} "
                    "cannot go on with it. Both hosts hold a part of its memory: update libvirt there."
                )
        spec, uri = replace(self._spec, resume=True), str(self._destination.uri)
        with context.step("resume_postcopy", "Go on with the post-copy that broke off") as step:
            try:
                context.undo_effect(
                    "migration_resume", lambda: here.migrate(context.uuid, uri, spec), host=self._source
                )
            except HypervisorError as error:
                log.warning("job %s: the post-copy could not go on: %s", context.job.pk, error)
                step.detail = str(error)
        self._not_before = time.monotonic() + self._pause
        self._pause *= 2


def can_resume(version: tuple[int, int, int]) -> bool:
    """Whether that version of libvirt can go on with a post-copy, as source and as destination."""
    first_bad, first_good = CRASHING_VERSIONS
    return version >= FIRST_VERSION and not first_bad <= version < first_good
