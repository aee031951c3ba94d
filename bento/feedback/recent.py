"""The items of users' feedback events since the Bento was built, used without retraining."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from bento.feedback.batching import Batcher
from bento.feedback.store import Events
from models.inference.candidates import Indices

USERS = 4096  # cached; at most 4 KB each
PAUSE_SECONDS = 5.0  # before an unreadable file is read again
READ_SECONDS = 0.5  # deadline of a database server per list
MOST_WAITING = 20_000  # users in the queue, of all requests
NOTHING = np.zeros(0, np.int32)
AHEAD: ContextVar[Mapping[str, Indices]] = ContextVar("ahead", default={})  # noqa: B039 (read-only)


class Recent:
    """Function (user_id) -> item_idx (m,) of the user's positive events, stored by any process.

    Items outside the model's catalogue are ignored. An unreadable store counts as empty: recommending goes on without
    it. A file is read in the calling thread; a database server is queried by one thread for all callers at once, and
    `ahead` awaits it without blocking the event loop.
    """

    def __init__(self, events: Events, index: Mapping[str, int]) -> None:
        """Prepare to read `events`; index: item_id -> item_idx."""
        self.events, self.index = events, index
        self.errors = 0
        self.skipped: Callable[[], object] = lambda: None  # called for every list made without reading the store
        self.reader: Batcher[str, list[str]] | None = None
        if not events.is_sqlite:
            self.reader = Batcher(
                "new events are read", events.items_of_each, lambda: events.items_of_each(["probe"]),
                seconds=READ_SECONDS, most=lambda: MOST_WAITING,
            )  # fmt: skip
        self._found: OrderedDict[str, Indices] = OrderedDict()
        self._counter: Callable[[], int] | None = None
        self._changes, self._asked_again = -1, 0.0
        self._failure = ""
        self._lock = threading.Lock()

    def __call__(self, user_id: str) -> Indices:
        if (known := AHEAD.get().get(user_id)) is not None:
            return known
        if not is_storable(user_id):
            return NOTHING
        return self._of_file(user_id) if self.reader is None else self._of_server(self.reader, user_id)

    def problem(self) -> str | None:
        """Return the reason why events cannot be read at present; None if they can."""
        if self.reader is not None:
            return self.reader.problem()
        return self._failure if time.monotonic() < self._asked_again else None

    async def ahead(self, user_ids: Sequence[str]) -> None:
        """Read the events of a request's users from a database server, so that no later call waits for it."""
        if self.reader is None:
            return
        asked = [user_id for user_id in dict.fromkeys(user_ids) if is_storable(user_id)]
        found: list[list[str]] = []
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(self.reader.submit(asked)), READ_SECONDS)
        except Exception:  # any error: the list is made without new events
            self._skip()
        AHEAD.set(dict.fromkeys(user_ids, NOTHING) | dict(zip(asked, map(self._known, found), strict=False)))

    def _of_server(self, reader: Batcher[str, list[str]], user_id: str) -> Indices:
        asked: Future[list[list[str]]] | None = None
        try:
            asked = reader.submit([user_id])
            return self._known(asked.result(READ_SECONDS)[0])
        except Exception:  # as above
            if asked is not None:
                asked.cancel()
            self._skip()
            return NOTHING

    def _of_file(self, user_id: str) -> Indices:
        if time.monotonic() < self._asked_again:
            self.skipped()
            return NOTHING
        try:
            with self._lock:
                return self._cached(user_id) if self.events.exists() else NOTHING
        except (SQLAlchemyError, OSError) as error:
            self._skip()
            self._failure = type(error).__name__
            self._asked_again = time.monotonic() + PAUSE_SECONDS
            return NOTHING

    def _skip(self) -> None:
        self.errors += 1
        self.skipped()

    def _cached(self, user_id: str) -> Indices:
        if self._counter is None:
            self._counter = self.events.change_counter()
        if self._counter is None:
            return self._known(self.events.items_of(user_id))
        if (changes := self._counter()) != self._changes:
            self._found.clear()
            self._changes = changes
        if user_id not in self._found:
            self._found[user_id] = self._known(self.events.items_of(user_id))
            if len(self._found) > USERS:
                self._found.popitem(last=False)
        self._found.move_to_end(user_id)
        return self._found[user_id]

    def _known(self, item_ids: Sequence[str]) -> Indices:
        return np.array([self.index[item] for item in item_ids if item in self.index], np.int32)


def is_storable(user_id: str) -> bool:
    """Return whether a database accepts this user id: an invalid one shall not count as a failure of the store."""
    return "\0" not in user_id and not any("\ud800" <= c <= "\udfff" for c in user_id)
