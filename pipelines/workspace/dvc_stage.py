"""One stage of dvc.yaml by DVC in this process, and what became of it: computed, taken from the cache or unchanged."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo as Repo
from dvc.stage.exceptions import StageCmdFailedError
from ruamel.yaml import YAML

from pipelines.artifacts import outputs, recipe
from pipelines.artifacts.outputs import DATA
from pipelines.privacy.shown import shown

SAID = {"Running stage": "computed", "is cached": "from the cache", "didn't change": "unchanged"}
CHATTER = ("To track the changes", "To enable auto staging", "Updating lock file", "Generating lock file", "Use `dvc")


class InterruptedStageError(OSError):
    """The stage did not end by its own decision: worth another attempt."""


@dataclass(frozen=True)
class Outcome:
    """seconds: of the stage and DVC; wrote: bytes by file."""

    how: str
    seconds: float
    wrote: dict[str, int]


class Listener(logging.Handler):
    """Passes on what DVC says, and hears from it whether a stage was computed."""

    heard = "unchanged"

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        self.heard = next((how for words, how in SAID.items() if words in text), self.heard)
        if text and not text.startswith(CHATTER):
            print(shown(text, lines=True), flush=True)


def reproduce(stage: str, *, shared: bool, fetches: bool = True) -> Outcome:
    """Bring a stage up to date in the current folder, after its inputs were fetched.

    shared: from the default remote, to which the outputs are pushed; else from the cache alone. fetches: False where
    the inputs are known to be there. Raises ValueError where the stage refuses its input, InterruptedStageError where
    it was ended, DvcException.
    """
    # the stages' commands say `python`, which has to be this one
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    started, listener = time.monotonic(), Listener()
    logger = logging.getLogger("dvc")
    handlers, logger.handlers = logger.handlers, [listener]
    logger.setLevel(logging.INFO)
    try:
        with Repo() as repo:
            if fetches or shared:
                fetch(repo, inputs(stage), shared=shared)
            repo.reproduce(targets=[stage], single_item=True, pull=shared)
            if shared:
                repo.push(targets=[stage], run_cache=True)
    except DvcException as error:
        raise translated(stage, error) from error
    finally:
        logger.handlers = handlers
    wrote = {name: entry["bytes"] for name, entry in outputs.read_manifest(DATA / stage)["files"].items()}
    return Outcome(listener.heard, time.monotonic() - started, wrote)


def fetch(repo: Repo, targets: Sequence[str], *, shared: bool) -> None:
    """Bring outputs of stages, or what `.dvc` files name, into the workspace."""
    if targets and shared:
        repo.pull(targets=list(targets))
    elif targets:
        repo.checkout(targets=list(targets), force=True)


def inputs(stage: str) -> list[str]:
    """List what a stage needs before it runs: the stages whose outputs it reads, data that DVC tracks for ingest.

    A stage that checks the chain of stages reads the manifests of all before it.
    """
    stages: dict[str, Any] = YAML(typ="safe").load(Path("dvc.yaml").read_text("utf-8"))["stages"]
    if stage in recipe.CHECKING:
        return recipe.before(stage, stages)
    deps = stages[stage].get("deps", [])
    found = [
        other for other in stages if other != stage and any(f"{dep}/".startswith(f"data/{other}/") for dep in deps)
    ]
    if found or stage != "ingest":
        return found
    tracked = sorted(DATA.glob("raw/*.dvc"))
    return [path.as_posix() for path in tracked if not path.with_suffix("").exists()]


def translated(stage: str, error: DvcException) -> Exception:
    """What DVC raised, as an error that says whether another attempt may help."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StageCmdFailedError):
        cause = cause.__cause__
    if said := re.search(r"exited with (-?\d+)$", str(cause)):  # DVC keeps the status in its message alone
        status = int(said[1])
        if status in (1, 2):
            return ValueError(f"{stage} refused to go on; its reason is above")
        return InterruptedStageError(f"{stage} was ended with status {status} (128 + signal, or minus signal)")
    return InterruptedStageError(f"DVC failed at {stage}: {error}: {error.__cause__ or ''}".rstrip(": "))
