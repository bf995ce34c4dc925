"""Calls that can be given up: each runs in a thread of its own, so that a hang in C costs no caller.

A libvirt call cannot be interrupted. So the caller waits for the answer, for its budget to run out, or for the
connection to be closed, whichever is first; the thread that is still inside libvirt is left behind and is used
again when the call comes back. A method of several steps asks `given_up()` between them, so that nothing is done
any more for a caller that has gone.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from hypervisor.errors import HostUnreachable, HypervisorError, OperationTimeout

T = TypeVar("T")

#: Threads kept for the next call; more are made when needed and end after their call.
_KEPT_THREADS = 8


class _Call(Generic[T]):
    """One call and its outcome; the first to settle it wins."""

    def __init__(self, run: Callable[[], T], discard: Callable[[T], object] | None) -> None:
        self._run = run
        self._discard = discard
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._result: T | None = None
        self._error: BaseException | None = None
        self.given_up = False

    def execute(self) -> None:
        _here.call = self
        try:
            result = self._run()
        except BaseException as error:  # handed to the caller, who raises it
            _forget_locals(error)
            self._settle(error=error)
        else:
            if not self._settle(result=result) and self._discard is not None:
                self._discard(result)
        finally:
            _here.call = None

    def give_up(self, error: HypervisorError) -> None:
        self._settle(error=error, given_up=True)

    def wait(self, seconds: float | None) -> T:
        try:
            if not self._settled.wait(seconds):
                self.give_up(OperationTimeout(f"The host did not answer within {seconds:g} seconds."))
        finally:
            self.given_up = True  # also when the waiting thread was interrupted
        if self._error is not None:
            raise self._error
        return cast(T, self._result)

    def _settle(self, *, result: T | None = None, error: BaseException | None = None, given_up: bool = False) -> bool:
        with self._lock:
            if self._settled.is_set() or (self.given_up and not given_up):
                return False
            self._result, self._error, self.given_up = result, error, given_up
            self._settled.set()
            return True


def _forget_locals(error: BaseException) -> None:
    """Let go of what the failed frames hold, libvirt's objects before all.

    Kept by a traceback, they would be freed by the garbage collector at some time in some thread. Freeing the last one
    of a broken connection leaves an error behind in that thread, and if a call has just failed there, libvirt's binding
    (which asks for the thread's last error a moment later) would take the one for the other.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__


class _Here(threading.local):
    call: _Call[Any] | None = None


_here = _Here()


class _Worker(threading.Thread):
    """A thread that runs calls until there are enough idle ones."""

    def __init__(self) -> None:
        super().__init__(name="libvirt-call", daemon=True)
        self.inbox: SimpleQueue[_Call[Any]] = SimpleQueue()

    def run(self) -> None:
        while True:
            self.inbox.get().execute()
            with _idle_lock:
                if len(_idle) >= _KEPT_THREADS:
                    return
                _idle.append(self)


_idle: list[_Worker] = []
_idle_lock = threading.Lock()


def _hand_over(call: _Call[Any]) -> None:
    with _idle_lock:
        worker = _idle.pop() if _idle else None
    if worker is None:
        worker = _Worker()
        worker.start()
    worker.inbox.put(call)


def given_up() -> bool:
    """Whether the caller of the call that runs in this thread has stopped waiting for it."""
    return _here.call is not None and _here.call.given_up


def check_wanted() -> None:
    """Between the steps of a longer method: end it if nobody waits for it any more."""
    if given_up():
        raise OperationTimeout("The caller stopped waiting before this was done.")


class Calls:
    """The calls under way on one connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[_Call[Any]] = set()
        self._ended: str | None = None

    def run(
        self, function: Callable[[], T], *, seconds: float | None, discard: Callable[[T], object] | None = None
    ) -> T:
        """Run `function` in another thread and return what it returns, or raise what it raises.

        `seconds` None waits as long as it takes; otherwise OperationTimeout. HostUnreachable once `end` was called.
        A result that comes after the caller has gone is given to `discard`. Inside another call it runs at once.
        """
        if _here.call is not None:
            check_wanted()
            return function()
        call = _Call(function, discard)
        with self._lock:
            if self._ended is not None:
                raise HostUnreachable(self._ended)
            self._waiting.add(call)
        try:
            _hand_over(call)
            return call.wait(seconds)
        finally:
            with self._lock:
                self._waiting.discard(call)

    def end(self, reason: str) -> None:
        """Let all callers go with HostUnreachable, now and from now on."""
        with self._lock:
            self._ended = reason
            waiting = list(self._waiting)
        for call in waiting:
            call.give_up(HostUnreachable(reason))


def in_background(function: Callable[[], None]) -> threading.Event:
    """Run `function` in another thread; the event is set when it has ended, well or not."""
    ended = threading.Event()

    def run() -> None:
        try:
            function()
        finally:
            ended.set()

    _hand_over(_Call(run, None))
    return ended


def _forget_threads() -> None:
    """In a forked child: the threads did not come along, and their lock may be held for ever."""
    global _idle_lock
    _idle_lock = threading.Lock()
    _idle.clear()
    _here.call = None


os.register_at_fork(after_in_child=_forget_threads)
