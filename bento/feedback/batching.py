"""A worker thread for calls of the store: it batches the calls, and rejects them at once while the store is down.

Calls that arrive while the thread is busy form the next batch. When the store fails, or misses its deadline, callers
are rejected without waiting (a circuit breaker), and the thread probes the store by itself, so that no caller waits
for a probe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

LOGGER = logging.getLogger("longtail.serve")
FIRST_PAUSE, LAST_PAUSE = 1.0, 8.0  # seconds between two probes of a failed store; each pause doubles the last
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Waiting = tuple[list[Asked], "Future[list[Answer]]"]


class BusyError(Exception):
    """The queue is full."""


class DownError(Exception):
    """The store is down at present."""

    def __init__(self, reason: str, seconds: float) -> None:
        """Keep the reason; seconds: until the next probe."""
        super().__init__(reason)
        self.reason, self.seconds = reason, seconds


class Batcher(Generic[Asked, Answer]):
    """Queue whose single thread calls `work` with batches, one call at a time."""

    def __init__(
        self, name: str, work: Callable[[list[Asked]], Sequence[Answer]], probe: Callable[[], object],
        *, seconds: float, most: Callable[[], int],
    ) -> None:  # fmt: skip
        """Start with an empty queue; work: returns an answer per element, in order; probe: raises if the store is down.

        seconds: the deadline of both; most: the capacity of the queue.
        """
        self.name, self.work, self.probe, self.seconds, self.most = name, work, probe, seconds, most
        self.observe: Callable[[float, bool], None] = lambda seconds, failed: None  # called after each call
        self.failure: str | None = None  # reason why the last call failed; None if it succeeded
        self._waiting: list[Waiting[Asked, Answer]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._begun: float | None = None  # when the call under way began
        self._opened = False  # True: the circuit is open, callers are rejected
        self._pause, self._next_try = FIRST_PAUSE, 0.0

    @property
    def waiting(self) -> int:
        return sum(len(batch) for batch, _ in self._waiting)

    def problem(self) -> str | None:
        """Return the present problem of the store; None if the last call succeeded."""
        return self._stuck() or self.failure

    def submit(self, batch: list[Asked]) -> Future[list[Answer]]:
        """Queue a batch and return the future of its answers; raises BusyError or DownError."""
        future: Future[list[Answer]] = Future()
        with self._changed:
            if self._opened or self._stuck():
                raise DownError(self.problem() or "the store failed", max(self._next_try - time.monotonic(), 1.0))
            if self.waiting + len(batch) > self.most():
                raise BusyError
            self._waiting.append((batch, future))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def _stuck(self) -> str | None:
        begun = self._begun
        late = begun is not None and time.monotonic() - begun > self.seconds
        return f"no answer within {self.seconds:g} s" if late else None

    def _run(self) -> None:
        while True:
            try:
                self._step()
            except BaseException:  # the only thread must survive any error
                LOGGER.exception("%s: an unexpected error", self.name)

    def _step(self) -> None:
        with self._changed:
            left = self._next_try - time.monotonic() if self._opened else None
            self._changed.wait_for(lambda: self._waiting, left)
            taken, self._waiting = self._waiting, []
            taken = [(batch, future) for batch, future in taken if future.set_running_or_notify_cancel()]
        try:
            if taken:
                self._serve(taken)
            elif self._opened and time.monotonic() >= self._next_try:
                self._close_or_wait()
        finally:
            for _, future in taken:
                if not future.done():
                    future.set_exception(DownError("the store failed", 1.0))

    def _serve(self, taken: list[Waiting[Asked, Answer]]) -> None:
        error = self._answer(taken)
        if error is None:
            return
        if (broken := self._call(self.probe)) is not None:
            self._open(broken)
            for _, future in taken:
                future.set_exception(error)
            return
        for each in taken:  # the store works, so one batch or a connection failed: retry each batch alone
            if (error := self._answer([each])) is not None:
                each[1].set_exception(error)

    def _answer(self, taken: list[Waiting[Asked, Answer]]) -> BaseException | None:
        """Work on some batches in one call and set their results; on failure return the error, with no result set."""
        found: list[Answer] = []
        error = self._call(lambda: found.extend(self.work([each for batch, _ in taken for each in batch])))
        if error is None and len(found) != (wanted := sum(len(batch) for batch, _ in taken)):
            error = ValueError(f"{len(found)} answers to {wanted} questions")
        if error is not None:
            return error
        start = 0
        for batch, future in taken:
            future.set_result(found[start : start + len(batch)])
            start += len(batch)
        return None

    def _call(self, function: Callable[[], object]) -> BaseException | None:
        """Call the function and report to the observer; return the error, if any."""
        error: BaseException | None = None
        self._begun = started = time.monotonic()
        try:
            function()
        except BaseException as caught:  # a caller waits for an answer
            error = caught
        finally:
            self._begun = None
        seconds = time.monotonic() - started
        self.failure = None if error is None else type(error).__name__
        self.observe(seconds, error is not None)
        if error is None and seconds > self.seconds:
            self._open(TimeoutError(f"a call took {seconds:.2g} s, expected at most {self.seconds:g} s"))
        return error

    def _open(self, error: BaseException) -> None:
        """Reject callers from now on, queued ones included."""
        with self._changed:
            if not self._opened:
                LOGGER.warning("%s: the store does not work; it is retried automatically: %s", self.name, brief(error))
                self._pause = FIRST_PAUSE
            self.failure, self._opened = str(error) if isinstance(error, TimeoutError) else type(error).__name__, True
            self._next_try = time.monotonic() + self._pause
            refused, self._waiting = self._waiting, []
        for _, future in refused:
            if future.set_running_or_notify_cancel():
                future.set_exception(DownError(self.failure, self._pause))

    def _close_or_wait(self) -> None:
        """Probe the store; accept callers again if it works."""
        self._pause = min(2 * self._pause, LAST_PAUSE)
        started = time.monotonic()
        error = self._call(self.probe)
        if error is not None:
            self._open(error)
        elif time.monotonic() - started <= self.seconds:
            with self._changed:
                self._opened = False
            LOGGER.warning("%s: the store works again", self.name)


def brief(error: BaseException) -> str:
    """Return the first line of an error: SQLAlchemy appends the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
