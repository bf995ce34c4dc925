"""Power. After a failure the guest's state is asked for: it tells more than libvirt's code does."""

from __future__ import annotations

from collections.abc import Callable

import libvirt

from hypervisor.errors import GuestBusy, GuestStateInvalid, HostUnreachable, HypervisorError, OperationTimeout
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import translated

#: Starting may restore a saved memory image; shutting down waits for a silent guest agent first, then presses ACPI.
START_SECONDS = 300.0
ASK_SECONDS = 120.0

_OFF = frozenset({libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED})
_PAUSED = frozenset({libvirt.VIR_DOMAIN_PAUSED})
_ON = frozenset({libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED}) | _PAUSED
_ACTIVE = _ON | {libvirt.VIR_DOMAIN_PMSUSPENDED, libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_CRASHED}


class Powering(LibvirtConnection):
    """The protocol's `Powering`."""

    @remote(seconds=START_SECONDS)
    def start(self, uuid: str) -> None:
        """Power on. Raises GuestStateInvalid if it is on."""
        domain = self.domain(uuid)
        self._act(domain, domain.create, needs=_OFF, otherwise="The guest is on already.")

    @remote(seconds=ASK_SECONDS)
    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down (agent or ACPI). Raises GuestStateInvalid if it is off."""
        domain = self.domain(uuid)
        self._act(domain, domain.shutdownFlags, needs=_ON, otherwise="The guest is not running.")

    @remote(seconds=ASK_SECONDS)
    def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot (agent or ACPI). Raises GuestStateInvalid if it is off."""
        domain = self.domain(uuid)
        self._act(domain, domain.reboot, needs=_ON, otherwise="The guest is not running.")

    @remote()
    def force_off(self, uuid: str) -> None:
        """Pull the plug. Raises GuestStateInvalid if it is off."""
        domain = self.domain(uuid)
        self._act(domain, domain.destroyFlags, needs=_ACTIVE, otherwise="The guest is off already.")

    @remote()
    def resume(self, uuid: str) -> None:
        """Let a paused guest run on. Raises GuestStateInvalid if it is not paused."""
        domain = self.domain(uuid)
        self._act(domain, domain.resume, needs=_PAUSED, otherwise="The guest is not paused.")

    def _act(
        self, domain: libvirt.virDomain, action: Callable[[], object], *, needs: frozenset[int], otherwise: str
    ) -> None:
        try:
            with translated(self.is_alive):
                action()
        except (HostUnreachable, OperationTimeout, GuestBusy):
            raise
        except HypervisorError as error:
            if domain.state()[0] not in needs:
                raise GuestStateInvalid(otherwise) from error
            raise
