"""The server's entry point: requests in threads that stay."""

from __future__ import annotations

import asyncio
from inspect import iscoroutinefunction
from typing import Any

from django.db import connections
from django.db.utils import ConnectionHandler

from portal.connections import KEPT_SECONDS, keep_connections


def asked(application: Any, path: str) -> int:
    """The status that one request gets over ASGI."""
    return asyncio.run(_many(application, [path]))[0]


async def _many(application: Any, paths: list[str]) -> list[int]:
    return await asyncio.gather(*(_one(application, path) for path in paths))


async def _one(application: Any, path: str) -> int:
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": b"", "more_body": False}]
    hung_up = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "headers": [(b"host", b"localhost")], "server": ("localhost", 80), "client": ("127.0.0.1", 9), "root_path": "",
        "http_version": "1.1",
    }  # fmt: skip
    await application(scope, receive, send)
    return int(sent[0]["status"])


def application() -> Any:
    kept = {name: dict(connections.settings[name]) for name in connections}
    try:
        from portal import asgi

        return asgi.Handler()
    finally:
        for name, settings in kept.items():
            connections.settings[name].update(settings)


def test_a_request_stays_in_one_thread_through_all_middleware() -> None:
    assert not iscoroutinefunction(application()._middleware_chain)


def test_requests_are_answered_also_many_at_a_time() -> None:
    handler = application()
    assert asked(handler, "/healthz") == 200
    assert asked(handler, "/no/such/page/") == 404
    assert asyncio.run(_many(handler, ["/healthz"] * 100)) == [200] * 100


def test_threads_that_stay_keep_their_connections_for_a_while(monkeypatch: Any) -> None:
    known = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    monkeypatch.setattr("portal.connections.connections", known)
    keep_connections()
    kept = known["default"].settings_dict
    assert (kept["CONN_MAX_AGE"], kept["CONN_HEALTH_CHECKS"]) == (KEPT_SECONDS, True)
