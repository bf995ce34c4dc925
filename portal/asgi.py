"""The ASGI entry point: the only way the portal is served."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import django
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from portal.collector import set_apart_what_stays
from portal.connections import keep_connections

#: Requests that are worked on at a time; more wait their turn.
THREADS = 32


class Handler(ASGIHandler):
    """Django's, with one thread for each request, from a pool whose threads keep their database connections.

    Views and middleware are all synchronous. Django's own handler would take each request to a thread and back for
    every middleware, in a new thread with a new connection to the database.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    def load_middleware(self, is_async: bool = False) -> None:
        """The chain for a thread, whatever is asked for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer, worked out in a thread of the pool."""
        loop, context = asyncio.get_running_loop(), copy_context()
        return await loop.run_in_executor(self._threads, context.run, self._answer, request)

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)
keep_connections()
application = Handler()
_ = get_resolver().url_patterns  # imports every view now, not in the first request
set_apart_what_stays()
