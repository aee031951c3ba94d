"""`longtail serve`: its options, and the loop that follows the registry."""

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

FETCH_SECONDS = 20.0  # between two fetches from the Git remote that shares the registry


def add_arguments(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--version", help="serve only this version, such as v1.0.0; default: follow promotions")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=3000, help="port to listen on (default: %(default)s)")
    serve.add_argument("--workers", type=int, default=1, help="worker processes (default: %(default)s)")
    serve.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="seconds for open requests to finish when the server stops (default: %(default)g)",
    )  # fmt: skip
    serve.add_argument(
        "--compare", action="store_true", help="also run the previous version, to compare with it on the explorer page"
    )


def run_serve(arguments: argparse.Namespace) -> None:
    if arguments.workers < 1:
        raise ValueError(f"--workers is {arguments.workers}, expected at least 1")
    if not 0 <= arguments.grace < float("inf"):
        raise ValueError(f"--grace is {arguments.grace}, expected 0 or more seconds")
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
    """Reader of the registry that fetches from the remote now and then."""

    def __init__(self, champion: Champion, remote: str | None) -> None:
        self.champion, self.remote = champion, remote
        self.fetched = float("-inf")

    def __call__(self) -> Registry:
        if self.remote is not None and time.monotonic() > self.fetched + FETCH_SECONDS:
            self.fetched = time.monotonic()
            tags.fetch(self.champion, self.remote)
        return tags.read(self.champion)
