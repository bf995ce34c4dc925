"""Subscribing to a host's events; what becomes of them is in `events`."""

from __future__ import annotations

from collections.abc import Callable

from hypervisor.errors import HypervisorError, NotSupported
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import translated
from hypervisor.libvirt_driver.events import READERS, Delivery, callback
from hypervisor.types import GuestEvent


class LibvirtSubscription:
    """A running event subscription; see `protocol.Subscription`."""

    def __init__(self, connection: Watching, delivery: Delivery) -> None:
        self._connection = connection
        self._delivery = delivery
        self._ids: list[int] = []

    def stop(self) -> None:
        """End it; no event is delivered after this returns. Idempotent."""
        if self._delivery.end():
            self._connection.sign_off(self)

    def begin(self) -> None:
        """Register with libvirt (one round trip for each kind of event)."""
        for number, reader in READERS.items():
            try:
                with translated(self._connection.is_alive):
                    self._ids.append(
                        self._connection.handle.domainEventRegisterAny(
                            None, number, callback(self._delivery, reader), None
                        )
                    )
            except NotSupported:
                continue  # this host does not have that event
        self._connection.listen_for_close(self._delivery.announce_close)

    def deregister(self) -> None:
        """Sign off with libvirt, which holds the connection open until then; on a broken one it only forgets."""
        self._delivery.end()
        self._connection.unlisten_for_close(self._delivery.announce_close)
        while self._ids:
            try:
                with translated(self._connection.is_alive):
                    self._connection.handle.domainEventDeregisterAny(self._ids.pop())
            except HypervisorError:
                continue


class Watching(LibvirtConnection):
    """The protocol's `Observing.watch`."""

    def watch(self, on_event: Callable[[GuestEvent], None], on_close: Callable[[str], None]) -> LibvirtSubscription:
        """Deliver events of all guests from a thread; `on_close(reason)` once if the connection breaks.

        When the watcher lags so far behind that events had to be dropped, an event of kind OTHER with the detail
        `events_lost`, no guest and a `count` tells it. Raises HostUnreachable.
        """
        delivery = Delivery(on_event, on_close)
        subscription = LibvirtSubscription(self, delivery)
        try:
            self._sign_on(subscription)
        except HypervisorError:
            delivery.end()
            raise
        return subscription

    @remote()
    def _sign_on(self, subscription: LibvirtSubscription) -> None:
        self.before_close(subscription.deregister)
        subscription.begin()

    def sign_off(self, subscription: LibvirtSubscription) -> None:
        """Deregister with libvirt; a host that does not answer is not waited for."""
        self.not_before_close(subscription.deregister)
        try:
            self._deregister(subscription)
        except HypervisorError:
            return  # the subscription delivers nothing any more, which is what counts

    @remote()
    def _deregister(self, subscription: LibvirtSubscription) -> None:
        subscription.deregister()
