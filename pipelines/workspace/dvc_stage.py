"""Reproduce one stage of dvc.yaml by DVC in this process: it is computed, taken from the cache or unchanged."""

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
from pipelines.runtime.console import TRY_AGAIN, TemporaryError
from pipelines.workspace import dvc_errors

SAID = {"Running stage": "computed", "is cached": "from the cache", "didn't change": "unchanged"}
CHATTER = ("To track the changes", "To enable auto staging", "Updating lock file", "Generating lock file", "Use `dvc")


class InterruptedStageError(TemporaryError):
    """The stage was ended from outside, or failed for a reason that may pass."""


@dataclass(frozen=True)
class Outcome:
    """Result of a stage; seconds: of the stage and DVC; wrote: bytes by file."""

    how: str
    seconds: float
    wrote: dict[str, int]


class Listener(logging.Handler):
    """Log handler that passes on DVC's messages, and finds out from them if a stage was computed."""

    result = "unchanged"

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        self.result = next((how for words, how in SAID.items() if words in text), self.result)
        if text and not text.startswith(CHATTER):
            print(shown(text, lines=True), flush=True)


def reproduce(stage: str, *, shared: bool, fetches: bool = True) -> Outcome:
    """Fetch the inputs of a stage, and bring it up to date in the current folder.

    shared: fetch from the default remote and push the outputs to it, otherwise use the cache alone. fetches: False if
    the inputs are known to be present. Raises ValueError if the stage rejects its input, InterruptedStageError if it
    was ended, TemporaryError if a remote failed.
    """
    # `python` in the stages' commands must be this interpreter
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    started, listener = time.monotonic(), Listener()
    logger = logging.getLogger("dvc")
    handlers, logger.handlers = logger.handlers, [listener]
    logger.setLevel(logging.INFO)
    try:
        with dvc_errors.translated(stage, remote=shared), Repo() as repo:
            if fetches or shared:
                fetch(repo, inputs(stage), shared=shared)
            try:
                repo.reproduce(targets=[stage], single_item=True, pull=shared)
            except DvcException as error:
                raise of_stage(stage, error, remote=shared) from error
            if shared:
                repo.push(targets=[stage], run_cache=True)
    finally:
        logger.handlers = handlers
    wrote = {name: entry["bytes"] for name, entry in outputs.read_manifest(DATA / stage)["files"].items()}
    return Outcome(listener.result, time.monotonic() - started, wrote)


def fetch(repo: Repo, targets: Sequence[str], *, shared: bool) -> None:
    """Bring outputs of stages, or the data of `.dvc` files, into the workspace."""
    if targets and shared:
        repo.pull(targets=list(targets))
    elif targets:
        repo.checkout(targets=list(targets), force=True)


def inputs(stage: str) -> list[str]:
    """List the inputs of a stage: the stages whose outputs it reads, and the data that DVC tracks for ingest.

    A stage that checks the chain of stages reads the manifests of all earlier ones.
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


def of_stage(stage: str, error: DvcException, *, remote: bool) -> Exception:
    """Return the error to raise instead of DVC's; a stage that fails has printed its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StageCmdFailedError):
        cause = cause.__cause__
    if cause is None:
        return dvc_errors.translation(stage, error, remote=remote)
    if (match := re.search(r"exited with (-?\d+)$", str(cause))) is None:  # the status is only in DVC's message
        return InterruptedStageError(f"{stage}: {cause}")
    status = int(match[1])
    if status in (1, 2):
        return ValueError(f"{stage} stopped; see its error above")
    if status == TRY_AGAIN:
        return InterruptedStageError(f"{stage} may succeed at the next attempt; see its error above")
    return InterruptedStageError(f"{stage} was ended with exit status {status} (128 + signal, or minus signal)")
