"""What users have done since the Bento was built: the items of their feedback events, without retraining."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from bento.events import Events
from models.candidates import Indices

USERS = 4096  # whose events stay in memory: at most 4 KB each
PAUSE_SECONDS = 5.0  # for which a store that fails is not asked again
NOTHING = np.zeros(0, np.int32)


class Recent:
    """(user_id) -> item_idx (m,) of the user's positive events, whichever process has stored them.

    Items that the model was not trained on do not count until it is. A store that cannot be read knows nothing:
    recommendations outlive it.
    """

    def __init__(self, events: Events, index: Mapping[str, int]) -> None:
        """index: item_id -> item_idx."""
        self.events, self.index = events, index
        self.errors = 0
        self._found: OrderedDict[str, Indices] = OrderedDict()
        self._counter: Callable[[], int] | None = None
        self._changes, self._asked_again = -1, 0.0
        self._lock = threading.Lock()

    def __call__(self, user_id: str) -> Indices:
        if time.monotonic() < self._asked_again or not is_storable(user_id):
            return NOTHING
        try:
            with self._lock:
                return self._of(user_id) if self.events.exists() else NOTHING
        except (SQLAlchemyError, OSError):
            self.errors += 1
            self._asked_again = time.monotonic() + PAUSE_SECONDS
            return NOTHING

    def _of(self, user_id: str) -> Indices:
        if self._counter is None:
            self._counter = self.events.change_counter()
        if self._counter is None:  # another machine may have added events since: ask each time
            return self._read(user_id)
        if (changes := self._counter()) != self._changes:
            self._found.clear()
            self._changes = changes
        if user_id not in self._found:
            self._found[user_id] = self._read(user_id)
            if len(self._found) > USERS:
                self._found.popitem(last=False)
        self._found.move_to_end(user_id)
        return self._found[user_id]

    def _read(self, user_id: str) -> Indices:
        known = [self.index[item] for item in self.events.items_of(user_id) if item in self.index]
        return np.array(known, np.int32)


def is_storable(user_id: str) -> bool:
    """Whether there can be events of this user; what databases refuse shall not look like a failure of theirs."""
    return "\0" not in user_id and not any("\ud800" <= c <= "\udfff" for c in user_id)
