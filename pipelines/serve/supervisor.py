"""`longtail serve`: serves the version that the registry points to, and swaps versions without losing a request.

The supervisor opens the public socket once and keeps it. When a promotion or rollback points to another version, that
one is started beside the serving one, has to become ready and to answer as it did when it was packaged, then takes
over; the old one answers what it has accepted and ends. A version that fails leaves the old one serving, and is not
tried again until it is assigned again; a restart remembers. SIGTERM or Ctrl-C ends it in order, within `grace` seconds;
a second Ctrl-C ends it at once.
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

from pipelines.bentos import store
from pipelines.registry import released, version_files
from pipelines.registry.tags import Registry, Version
from pipelines.runtime.console import say, sentence
from pipelines.serve import memory
from pipelines.serve.generation import END_SECONDS, Generation
from pipelines.serve.memory import Memory

NAME = "longtail"
LOOK_SECONDS = 2.0  # between two looks at the registry
TICK_SECONDS = 0.2
BACKLOG = 2048
ANY_ADDRESS = ("0.0.0.0", "::", "")  # to listen on, which no request names


@dataclass(frozen=True)
class Target:
    """What shall serve: a version, and the number of its assignment, which says whether it was assigned again."""

    version: Version
    assignment: int


@dataclass
class Supervisor:
    """Serves on one address until it is told to stop."""

    look: Callable[[], Registry]
    host: str
    port: int
    n_workers: int = 1
    compares: bool = False  # keep the version before at hand, to be compared with on the page
    pinned: str | None = None  # a version to serve whatever the registry says
    grace: float = 30.0  # seconds that requests under way get at the end
    memory: Memory = field(default_factory=Memory)
    current: Generation | None = None
    previous: Generation | None = None
    leaving: list[Generation] = field(default_factory=list)
    preparing: Future[Generation] | None = None
    wanted: Target | None = None  # what `preparing` prepares
    stops: threading.Event = field(default_factory=threading.Event)
    hurries: bool = False  # Ctrl-C came twice

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; raises ValueError where nothing can be served."""
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
        """Accept nothing more, give the workers their grace, and leave none behind."""
        self.stops.set()
        self.public.close()  # the workers accept what waits in it
        generations = [g for g in (self.current, self.previous, *self.leaving) if g is not None]
        for generation in generations:
            generation.stop()
        end = time.monotonic() + self.grace + END_SECONDS
        while time.monotonic() < end and not self.hurries and not all(g.has_ended() for g in generations):
            time.sleep(0.05)
        for generation in filter(None, (*generations, self.unused())):
            generation.end()

    def unused(self) -> Generation | None:
        """What was prepared when the end came."""
        with suppress(ValueError, OSError):
            return None if self.preparing is None else self.preparing.result()
        return None

    def stop(self, number: int, frame: object) -> None:
        self.hurries = self.hurries or (self.stops.is_set() and number == signal.SIGINT)
        self.stops.set()

    def target(self) -> Target | None:
        """What the registry, or the command line, wants to be served."""
        registry = self.look()
        version = registry.version(self.pinned) if self.pinned else registry.serving
        if version is None:
            return None
        numbers = [event.number for event in registry.assignments if event.version == version.name]
        return Target(version, max(numbers, default=0))

    def first(self) -> None:
        """Start with what is wanted; where that failed before, or fails now, with what served last."""
        wanted, last = self.target(), self.memory.version
        if wanted is None:
            raise ValueError(
                "nothing serves yet; `longtail run` makes and promotes a version, `git fetch --tags` brings others'"
            )
        fallback = last if last not in (None, wanted.version.name) and not self.pinned else None
        if fallback and self.memory.refused == wanted.assignment:
            say(NAME, f"{wanted.version.name} failed before ({self.memory.reason}), so {fallback} serves on")
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
                say(NAME, f"nothing to compare with: {error}")
        self.take_over(self.prepare(version, self.settings(self.previous), self.n_workers))

    def before(self, version: Version) -> Version | None:
        """The version that was assigned before this one."""
        registry = self.look()
        served = [e.version for e in registry.assignments if not e.taken_back and e.version in registry.versions]
        others = [name for name in served if name != version.name]
        return registry.versions[others[-1]] if others else None

    def settings(self, previous: Generation | None) -> dict[str, str]:
        """Environment of workers: the store of events, the address of the version before, the host they answer to."""
        found = {} if previous is None else {"LONGTAIL_PREVIOUS_URL": previous.url}
        if "LONGTAIL_FEEDBACK_DB" not in os.environ:
            found["LONGTAIL_FEEDBACK_DB"] = memory.feedback_url()
        if self.host not in ANY_ADDRESS:
            found["LONGTAIL_HOSTS"] = ",".join(filter(None, (os.environ.get("LONGTAIL_HOSTS"), self.host)))
        return found

    def prepare(self, version: Version, environment: dict[str, str], n_workers: int) -> Generation:
        """A version that is started and tested; raises ValueError or OSError where it cannot be."""
        released.check(version.name, version.commit)
        bento = version_files.document(version.name, version.commit, version_files.BENTO)
        store.ensure_imported(version_files.archive(version.name, version.commit), bento)
        generation = Generation(version.name, bento, self.public, n_workers, environment, self.grace, self.stops)
        generation.start()
        return generation

    def take_over(self, new: Generation) -> None:
        """Let a generation serve in place of the current one; between the two, connections wait in the socket."""
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
        looked, complaint = time.monotonic(), ""
        while not self.stops.is_set():
            time.sleep(TICK_SECONDS)
            self.tend()
            if self.preparing is not None:
                self.finish()
            elif self.pinned is None and time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                try:
                    self.follow(self.target())
                    complaint = ""
                except (ValueError, OSError) as error:  # the registry cannot be read; what serves does not need it
                    if str(error) != complaint:
                        complaint = str(error)
                        say(NAME, f"error: {error}; {self.current and self.current.version} serves on")

    def tend(self) -> None:
        """Look after the workers of all generations."""
        for generation in filter(None, (self.current, self.previous)):
            for status in generation.tend():
                say(NAME, f"a worker of {generation.version} ended with status {status}; another one starts")
        self.leaving = [generation for generation in self.leaving if not generation.has_ended()]

    def follow(self, target: Target | None) -> None:
        """Begin to prepare another version where one is wanted."""
        current = self.current
        if current is None or target is None or target.version.name == current.version:
            return
        if target.assignment == self.memory.refused:
            return
        say(NAME, f"{target.version.name} is wanted; {current.version} serves until it is ready")
        previous = current if self.compares else None
        self.wanted = target
        self.preparing = self.pool.submit(self.prepare, target.version, self.settings(previous), self.n_workers)

    def finish(self) -> None:
        """Swap to what was prepared, once it is."""
        if self.preparing is None or self.wanted is None or not self.preparing.done():
            return
        prepared, self.preparing = self.preparing, None
        try:
            self.take_over(prepared.result())
        except (ValueError, OSError) as error:
            if not self.stops.is_set():
                self.refuse(self.wanted, error, f"{self.current and self.current.version} serves on")
