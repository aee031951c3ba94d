"""Progress of a long computation over texts: texts/s and the time left, on a bar or in a line every few seconds."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from pipelines.runtime.console import say

EVERY = 5.0  # seconds between two lines


class Throughput:
    """Meter of texts and their characters: time depends on characters, while the display counts texts."""

    def __init__(self, name: str, *, texts: int, characters: int) -> None:
        self.name = name
        self.texts, self.characters = texts, max(1, characters)
        self.done = self.done_characters = 0
        self.started = self.logged = time.monotonic()
        self.bar = tqdm(total=texts, desc=name, unit=" texts", delay=1) if sys.stderr.isatty() else None

    def add(self, texts: int, characters: int) -> None:
        self.done, self.done_characters = self.done + texts, self.done_characters + characters
        if self.bar is not None:
            self.bar.set_postfix_str(f"{clock(self.left())} left", refresh=False)
            self.bar.update(texts)
        elif time.monotonic() - self.logged > EVERY:
            self.logged = time.monotonic()
            say(
                self.name,
                f"{self.done:,} of {self.texts:,} texts, {self.rate():,.0f} texts/s, {clock(self.left())} left",
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def seconds(self) -> float:
        return max(1e-9, time.monotonic() - self.started)

    def rate(self) -> float:
        """Return the texts per second so far."""
        return self.done / self.seconds()

    def left(self) -> float:
        """Return the seconds left, at the present time per character."""
        return self.seconds() * (self.characters - self.done_characters) / max(1, self.done_characters)


def clock(seconds: float) -> str:
    """Format seconds as 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
