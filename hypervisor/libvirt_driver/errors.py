"""From libvirt's errors to ours: the one place that catches `libvirtError`.

By error code and domain, never by the text: texts change and are translated. Codes alone do not tell everything
(a second start is code 55 from QEMU and code 1 from another driver), so who needs more asks for the guest's state
after a failure; see `powering`. Numbers: libvirt's `virterror.h`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType

import libvirt

from hypervisor.errors import (
    AccessDenied,
    AgentUnavailable,
    GuestBusy,
    GuestExists,
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    NotSupported,
    SnapshotNotFound,
)

ErrorTable = Mapping[int, type[HypervisorError]]

#: What a code means whatever the call was.
COMMON: ErrorTable = MappingProxyType(
    {
        libvirt.VIR_ERR_NO_DOMAIN: GuestNotFound,
        libvirt.VIR_ERR_DOM_EXIST: GuestExists,
        libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: SnapshotNotFound,
        libvirt.VIR_ERR_OPERATION_TIMEOUT: GuestBusy,  # the guest's job lock was not free for 30 s
        libvirt.VIR_ERR_RESOURCE_BUSY: GuestBusy,
        libvirt.VIR_ERR_OPERATION_INVALID: GuestStateInvalid,
        libvirt.VIR_ERR_NO_SUPPORT: NotSupported,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED: NotSupported,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: NotSupported,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED: NotSupported,
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE: AgentUnavailable,
        libvirt.VIR_ERR_AGENT_UNSYNCED: AgentUnavailable,
        libvirt.VIR_ERR_AUTH_FAILED: AccessDenied,
        libvirt.VIR_ERR_AUTH_CANCELLED: AccessDenied,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE: AccessDenied,
        libvirt.VIR_ERR_ACCESS_DENIED: AccessDenied,
        libvirt.VIR_ERR_OPERATION_DENIED: AccessDenied,
        libvirt.VIR_ERR_INVALID_CONN: HostUnreachable,
        libvirt.VIR_ERR_NO_CONNECT: HostUnreachable,
    }
)

#: Codes that mean a broken transport when the client's own side (RPC, REMOTE) reports them.
_TRANSPORT = frozenset(
    {
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_GNUTLS_ERROR,
        libvirt.VIR_ERR_SSH,
        libvirt.VIR_ERR_LIBSSH,
        libvirt.VIR_ERR_UNKNOWN_HOST,
    }
)
_CLIENT_SIDE = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})


def is_standing(handle: libvirt.virConnect) -> bool:
    """Whether a libvirt connection stands, as its client side knows without asking the host."""
    try:
        return bool(handle.isAlive() == 1)
    except libvirt.libvirtError:
        return False


_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202f-\u205f\u2070-\ud7ff\ue000-\ufffd]+")
_MESSAGE_CHARACTERS = 500


def sentence(text: str | None) -> str:
    """Make one printable sentence of a text that a host or a guest wrote: no control characters, not too long."""
    plain = " ".join(_UNPRINTABLE.sub(" ", text or "").split())
    if not plain:
        return "The host gave no reason."
    if len(plain) > _MESSAGE_CHARACTERS:
        return plain[: _MESSAGE_CHARACTERS - 3] + "..."
    return plain[0].upper() + plain[1:] + ("" if plain[-1] in ".!?" else ".")


class translated:
    """Run a block of libvirt calls and let only HypervisorError out.

    `table` is asked before COMMON; `otherwise` is for all other codes. `is_alive` tells whether the connection
    stands: if it does not, what failed is HostUnreachable, whatever the code says.
    """

    __slots__ = ("_is_alive", "_otherwise", "_table")

    def __init__(
        self,
        is_alive: Callable[[], bool],
        *,
        otherwise: type[HypervisorError] = HypervisorError,
        table: ErrorTable = MappingProxyType({}),
    ) -> None:
        self._is_alive = is_alive
        self._otherwise = otherwise
        self._table = table

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, libvirt.libvirtError):
            raise self._translate(error) from error

    def _translate(self, error: libvirt.libvirtError) -> HypervisorError:
        code: int = error.get_error_code() or libvirt.VIR_ERR_INTERNAL_ERROR
        message = sentence(error.get_error_message() or str(error))
        if not self._is_alive():
            return HostUnreachable(message)
        wanted = self._table.get(code)
        if wanted is None and code in _TRANSPORT and error.get_error_domain() in _CLIENT_SIDE:
            wanted = HostUnreachable
        return (wanted or COMMON.get(code, self._otherwise))(message)
