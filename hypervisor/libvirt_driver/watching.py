"""Subscribing to a host's events, on a handle of its own; what becomes of the events is in `events`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from types import MappingProxyType

import libvirt

from hypervisor.errors import HostUnreachable, HypervisorError, NotSupported, OperationTimeout
from hypervisor.libvirt_driver.calls import in_background
from hypervisor.libvirt_driver.connection import OPEN_SECONDS, LibvirtConnection
from hypervisor.libvirt_driver.errors import is_standing, translated
from hypervisor.libvirt_driver.events import READERS, Delivery, callback
from hypervisor.libvirt_driver.handles import farewell, open_handle
from hypervisor.types import GuestEvent

_CLOSE_REASONS = MappingProxyType(
    {
        libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "The connection failed.",
        libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "The host ended the connection.",
        libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "The host did not answer keepalive.",
    }
)


class LibvirtSubscription:
    """A running event subscription; see `protocol.Subscription`."""

    def __init__(self, uri: str, delivery: Delivery, numbers: Iterable[int]) -> None:
        """Open a handle and register for these events (one round trip for each). Raises HostUnreachable."""
        self._delivery = delivery
        self._lock = threading.Lock()
        self._stopped = False
        self._ids: list[int] = []
        self._handle = open_handle(uri, self._on_lost)
        try:
            for number in numbers:
                self._register(number, callback(delivery, READERS[number]))
        except HypervisorError:
            self._sign_off()
            raise

    def stop(self) -> None:
        """End it; no event is delivered after this returns. Idempotent."""
        self._delivery.end()
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        in_background(self._sign_off)  # a host that does not answer is not waited for

    def disown(self) -> None:
        """In a forked child: forget the handle without saying good-bye on the parent's socket."""
        self._handle._o = None

    def _register(self, number: int, called: Callable[..., None]) -> None:
        try:
            with translated(lambda: is_standing(self._handle)):
                self._ids.append(self._handle.domainEventRegisterAny(None, number, called, None))
        except NotSupported:
            return  # this host does not have that event

    def _on_lost(self, reason: int) -> None:
        if reason in _CLOSE_REASONS:
            self._delivery.announce_close(_CLOSE_REASONS[reason])

    def _sign_off(self) -> None:
        """Deregister, since a registration keeps the handle open, and let go of it."""
        while self._ids:
            try:
                with translated(lambda: True):
                    self._handle.domainEventDeregisterAny(self._ids.pop())
            except HypervisorError:
                continue  # on a broken handle libvirt forgets it all the same
        farewell(self._handle)


class Watching(LibvirtConnection):
    """The protocol's `Observing.watch`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._subscriptions: weakref.WeakSet[LibvirtSubscription] = weakref.WeakSet()

    def watch(
        self, on_event: Callable[[GuestEvent], None], on_close: Callable[[str], None], *, lifecycle_only: bool = False
    ) -> LibvirtSubscription:
        """Deliver events of all guests from a thread; `on_close(reason)` once if the connection breaks.

        When the watcher lags so far behind that events had to be dropped, an event of kind OTHER with the detail
        `events_lost`, no guest and a `count` tells it. Raises HostUnreachable.
        """
        if not self.is_alive():
            raise HostUnreachable("The connection to the host is closed or lost.")
        delivery = Delivery(on_event, on_close)
        numbers = [libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE] if lifecycle_only else list(READERS)
        try:
            subscription = self._calls.run(
                lambda: LibvirtSubscription(self.uri, delivery, numbers),
                seconds=OPEN_SECONDS,
                discard=LibvirtSubscription.stop,
            )
        except HypervisorError as error:
            delivery.end()
            if isinstance(error, OperationTimeout):
                raise HostUnreachable(error.message) from error
            raise
        self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """See `LibvirtConnection.close`; subscriptions end too."""
        for subscription in list(self._subscriptions):
            subscription.stop()
        super().close()

    def disown(self) -> None:
        """See `LibvirtConnection.disown`."""
        for subscription in list(self._subscriptions):
            subscription.disown()
        super().disown()
