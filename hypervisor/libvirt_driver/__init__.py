"""The driver for libvirt 9.0 and later (QEMU). The only place that imports libvirt's binding.

`connection` has the connection and its budgets, `calls` the threads, `loop` the event loop, `errors` the
translation of failures, `document` and `*_xml` the XML; the other modules are parts of the protocol.
"""

from __future__ import annotations

from hypervisor.errors import NotSupported
from hypervisor.protocol import Hypervisor


def open_libvirt(uri: str) -> Hypervisor:
    """Open a connection to a host by its libvirt URI, which must come from `hypervisor.uri`.

    Raises HostUnreachable or AccessDenied; NotSupported when the libvirt binding is not installed.
    """
    try:
        from hypervisor.libvirt_driver.driver import LibvirtHypervisor
    except ImportError as error:
        raise NotSupported("Python's libvirt binding is not installed here (libvirt-python).") from error
    return LibvirtHypervisor(uri)
