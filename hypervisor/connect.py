"""Opening a connection: the one place that knows which driver speaks to which address."""

from __future__ import annotations

from hypervisor.protocol import Hypervisor
from hypervisor.uri import HostURI


def connect(uri: HostURI) -> Hypervisor:
    """Open a connection to a host.

    Imports the driver on demand, so that an installation without libvirt can run the simulated estate.
    Raises HostUnreachable or AccessDenied; NotSupported when the libvirt binding is not installed.
    """
    if uri.scheme == "sim":
        from hypervisor.simulated_driver import open_simulated

        return open_simulated(uri.host)
    from hypervisor.libvirt_driver import open_libvirt

    return open_libvirt(str(uri))
