"""`longtail serve`: serve the registry's version, and switch versions without losing a request.

The supervisor opens the public socket once and keeps it. After a promotion or rollback it starts the new version beside
the old one, waits until it is ready, and checks that its answers are the same as when it was packaged. Then the new one
takes over; the old one answers its accepted requests and ends. If the new version fails, the old one continues to
serve, and the new one is not retried until it is assigned again, not even after a restart. SIGTERM or Ctrl-C ends the
server gracefully, within `grace` seconds; a second Ctrl-C ends it at once.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.artifacts.outputs import DATA
from pipelines.bentos import store
from pipelines.registry import released, version_files
from pipelines.registry.tags import Registry, Version
from pipelines.runtime.console import say, sentence
from pipelines.serve import memory
from pipelines.serve.generation import END_SECONDS, Generation
from pipelines.serve.memory import Memory

NAME = "longtail"
REPORT = DATA / "gate" / "report.html"
LOOK_SECONDS = 2.0  # between two reads of the registry
TICK_SECONDS = 0.2
BACKLOG = 2048
ANY_ADDRESS = ("0.0.0.0", "::", "")  # listening addresses that are no valid Host


@dataclass(frozen=True)
class Target:
    """The version to serve, and the number of its assignment, which changes when it is assigned again."""

    version: Version
    assignment: int


@dataclass
class Supervisor:
    """Server of one address, until it is told to stop."""

    look: Callable[[], Registry]
    host: str
    port: int
    n_workers: int = 1
    compares: bool = False  # also run the previous version, for comparison
    pinned: str | None = None  # a version to serve regardless of the registry
    grace: float = 30.0  # seconds for open requests at the end
    memory: Memory = field(default_factory=Memory)
    current: Generation | None = None
    previous: Generation | None = None
    leaving: list[Generation] = field(default_factory=list)
    preparing: Future[Generation] | None = None
    wanted: Target | None = None  # the target of `preparing`
    stops: threading.Event = field(default_factory=threading.Event)
    hurries: bool = False  # True after a second Ctrl-C

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; raises ValueError if no version can be served."""
        address = store.listenable(self.host, self.port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.memory = memory.read(self.port)
        with socket.create_server((address, self.port), family=family, backlog=BACKLOG) as self.public:
            handlers = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                with ThreadPoolExecutor(1, thread_name_prefix="prepare") as self.pool:
                    try:
                        self.first()
                        self.loop()
                    finally:
                        self.end()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def end(self) -> None:
        """Accept no more requests, give the workers their grace period, then end them all."""
        self.stops.set()
        self.public.close()  # the workers still accept its pending connections
        generations = [g for g in (self.current, self.previous, *self.leaving) if g is not None]
        for generation in generations:
            generation.stop()
        end = time.monotonic() + self.grace + END_SECONDS
        while time.monotonic() < end and not self.hurries and not all(g.has_ended() for g in generations):
            time.sleep(0.05)
        for generation in filter(None, (*generations, self.unused())):
            generation.end()

    def unused(self) -> Generation | None:
        """Return the generation that was prepared but never took over."""
        with suppress(ValueError, OSError):
            return None if self.preparing is None else self.preparing.result()
        return None

    def stop(self, number: int, frame: object) -> None:
        self.hurries = self.hurries or (self.stops.is_set() and number == signal.SIGINT)
        self.stops.set()

    def target(self) -> Target | None:
        """Return the version to serve, by the command line or the registry."""
        registry = self.look()
        version = registry.version(self.pinned) if self.pinned else registry.serving
        if version is None:
            return None
        numbers = [event.number for event in registry.assignments if event.version == version.name]
        return Target(version, max(numbers, default=0))

    def first(self) -> None:
        """Start the target version; if it fails, or failed before, start the version that served last."""
        wanted, last = self.target(), self.memory.version
        if wanted is None:
            raise ValueError(
                "no version is promoted yet; `longtail run` trains and promotes one, `git fetch --tags` fetches others'"
            )
        fallback = last if last not in (None, wanted.version.name) and not self.pinned else None
        if fallback and self.memory.refused == wanted.assignment:
            say(NAME, f"{wanted.version.name} failed before ({self.memory.reason}), so {fallback} continues to serve")
            self.begin(self.look().version(fallback))
            return
        try:
            self.begin(wanted.version)
        except (ValueError, OSError) as error:
            if self.stops.is_set():
                return
            if fallback is None:
                raise
            self.refuse(wanted, error, f"{fallback} serves")
            self.begin(self.look().version(fallback))

    def begin(self, version: Version) -> None:
        if self.compares and (before := self.before(version)):
            try:
                self.previous = self.prepare(before, {}, 1)
            except (ValueError, OSError) as error:
                say(NAME, f"the previous version cannot be started for comparison: {error}")
        self.take_over(self.prepare(version, self.settings(self.previous), self.n_workers))

    def before(self, version: Version) -> Version | None:
        """Return the version that was assigned before this one."""
        registry = self.look()
        served = [e.version for e in registry.assignments if not e.taken_back and e.version in registry.versions]
        others = [name for name in served if name != version.name]
        return registry.versions[others[-1]] if others else None

    def settings(self, previous: Generation | None) -> dict[str, str]:
        """Return the environment of workers: feedback store, address of the previous version, accepted host."""
        found = {} if previous is None else {"LONGTAIL_PREVIOUS_URL": previous.url}
        if "LONGTAIL_FEEDBACK_DB" not in os.environ:
            found["LONGTAIL_FEEDBACK_DB"] = memory.feedback_url()
        if self.host not in ANY_ADDRESS:
            found["LONGTAIL_HOSTS"] = ",".join(filter(None, (os.environ.get("LONGTAIL_HOSTS"), self.host)))
        return found

    def prepare(self, version: Version, environment: dict[str, str], n_workers: int) -> Generation:
        """Start and test a version; raises ValueError or OSError if it fails."""
        released.check(version.name, version.commit)
        bento = version_files.document(version.name, version.commit, version_files.BENTO)
        store.ensure_imported(version_files.archive(version.name, version.commit), bento)
        generation = Generation(version.name, bento, self.public, n_workers, environment, self.grace, self.stops)
        threading.Thread(target=fetch_report, args=(version, generation.report), daemon=True).start()
        generation.start()
        return generation

    def take_over(self, new: Generation) -> None:
        """Replace the current generation by a new one; meanwhile connections wait in the socket."""
        old, self.current = self.current, new
        new.listen()
        if old is not None:
            if self.compares:
                old.retire()
                old, self.previous = self.previous, old
            if old is not None:
                old.drain()
                self.leaving.append(old)
        self.memory = replace(self.memory, version=new.version, tag=new.tag)
        memory.write(self.port, self.memory)
        say(NAME, f"serving {new.version} ({new.tag}) on http://{self.host}:{self.public.getsockname()[1]}")

    def refuse(self, target: Target, error: Exception, instead: str) -> None:
        say(NAME, f"error: {error}; {instead}")
        self.memory = replace(self.memory, refused=target.assignment, reason=sentence(error))
        memory.write(self.port, self.memory)

    def loop(self) -> None:
        checked, logged = time.monotonic(), ""
        while not self.stops.is_set():
            time.sleep(TICK_SECONDS)
            self.tend()
            if self.preparing is not None:
                self.finish()
            elif self.pinned is None and time.monotonic() > checked + LOOK_SECONDS:
                checked = time.monotonic()
                try:
                    self.follow(self.target())
                    logged = ""
                except (ValueError, OSError) as error:  # unreadable registry; the serving version does not need it
                    if str(error) != logged:
                        logged = str(error)
                        say(NAME, f"error: {error}; {self.current and self.current.version} continues to serve")

    def tend(self) -> None:
        """Restart ended workers of all generations."""
        for generation in filter(None, (self.current, self.previous)):
            for status in generation.tend():
                say(NAME, f"a worker of {generation.version} ended with exit status {status}; starting another")
        self.leaving = [generation for generation in self.leaving if not generation.has_ended()]

    def follow(self, target: Target | None) -> None:
        """Begin to prepare the target version, if it is another one."""
        current = self.current
        if current is None or target is None or target.version.name == current.version:
            return
        if target.assignment == self.memory.refused:
            return
        say(NAME, f"preparing {target.version.name}; {current.version} serves until it is ready")
        previous = current if self.compares else None
        self.wanted = target
        self.preparing = self.pool.submit(self.prepare, target.version, self.settings(previous), self.n_workers)

    def finish(self) -> None:
        """Switch to the prepared version, once it is ready."""
        if self.preparing is None or self.wanted is None or not self.preparing.done():
            return
        prepared, self.preparing = self.preparing, None
        try:
            self.take_over(prepared.result())
        except (ValueError, OSError) as error:
            if not self.stops.is_set():
                self.refuse(self.wanted, error, f"{self.current and self.current.version} continues to serve")


def fetch_report(version: Version, target: Path) -> None:
    """Copy the gate's report of a version for the workers to show; a version serves without it."""
    with suppress(Exception):  # DVC's remotes raise the errors of their drivers
        partial = target.with_suffix(".partial")
        version_files.download(version.commit, REPORT, partial)
        partial.replace(target)
