"""`longtail serve`: its options, and what it does with them."""

from __future__ import annotations

import argparse
import time

from pipelines.registry import tags
from pipelines.registry.tags import Registry
from pipelines.serve.generation import SettingsError
from pipelines.serve.supervisor import Supervisor
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release

FETCH_SECONDS = 20.0  # between two questions to the Git remote that shares the registry


def add_arguments(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--version", help="such as v1.0.0, whatever is promoted; default: follow what serves")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=3000, help="port to listen on (default: %(default)s)")
    serve.add_argument("--workers", type=int, default=1, help="processes that answer (default: %(default)s)")
    serve.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="time that requests under way get to be answered when the server stops (default: %(default)g)",
    )  # fmt: skip
    serve.add_argument(
        "--compare", action="store_true", help="keep the version before running as well, for the page to compare with"
    )


def run_serve(arguments: argparse.Namespace) -> None:
    if arguments.workers < 1:
        raise ValueError(f"--workers is {arguments.workers}, expected at least 1")
    if not 0 <= arguments.grace < float("inf"):
        raise ValueError(f"--grace is {arguments.grace}, expected a number of seconds from 0")
    supervisor = Supervisor(
        look=Look(load(Champion), load(Release).remote),
        host=arguments.host,
        port=arguments.port,
        n_workers=arguments.workers,
        compares=arguments.compare,
        pinned=arguments.version,
        grace=arguments.grace,
    )
    try:
        supervisor.run()
    except SettingsError as error:
        raise ValueError(str(error)) from None


class Look:
    """The registry as it is now; the remote is asked now and then."""

    def __init__(self, champion: Champion, remote: str | None) -> None:
        self.champion, self.remote = champion, remote
        self.fetched = float("-inf")

    def __call__(self) -> Registry:
        if self.remote is not None and time.monotonic() > self.fetched + FETCH_SECONDS:
            self.fetched = time.monotonic()
            tags.fetch(self.champion, self.remote)
        return tags.read(self.champion)
