"""The WebSockets of the gateway, with a bound that its server has not."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Answers to pings that a browser may leave unread: a ping brings 125 bytes at most (RFC 6455, section 5.5).
UNREAD_BYTES = 1024 * 1024


class BoundedWebSockets(WebSocketsSansIOProtocol):
    """Gives up a browser that sends pings and reads no answer: each is kept in memory, ticket or no ticket."""

    def handle_ping(self) -> None:
        """Answer, unless too much waits to be read."""
        if self.transport.is_closing():  # of what came with the ping before
            return
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.transport.abort()
            return
        super().handle_ping()
