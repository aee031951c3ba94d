"""Tasks of a training run: prepare, run a stage, clean up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.artifacts import outputs
from pipelines.artifacts.outputs import DATA
from pipelines.orchestration import data_versions
from pipelines.orchestration import form as orchestration_form
from pipelines.runtime import console
from pipelines.runtime.console import say, sentence
from pipelines.settings.airflow import Airflow
from pipelines.settings.document import load
from pipelines.workspace import git, runs, worktree

Result = dict[str, Any]
VERDICT = DATA / "gate" / "verdict.json"
FAILED_PAGE = DATA / "validate.failed.html"  # of the stage validate
REFUSED = "refused"  # key of run.json: why a run could not start


class RoomError(OSError):
    """A disk has too little free space; a retry may succeed."""


def prepare(run_id: str, form: Mapping[str, Any], data: Mapping[str, Any], created: str) -> Result:
    """Start a run: check disk space and settings, and save the checkout and the settings under the run's ref.

    form: fields of the trigger form; data: a version of the source, from `new_data.look`, or empty; created:
    when Airflow created the run, since an id may be reused.
    """
    worktree.prune()
    run = runs.named(run_id)
    tip, record = run.tip(), {"run_id": run_id, "form": dict(form), "data": dict(data), "created": created}
    try:
        check_room()
        if tip is not None and is_prepared(run.record(), record):
            say("prepare", f"{run.ref} is already prepared; its results are kept")
            return {"ref": run.ref}
        changes = {**data.get("overrides", {}), **orchestration_form.overrides(form)}
        base, settings = begin(run, form.get("revision") or None, data.get("commit"), changes)
    except (ValueError, OSError) as error:
        if data:
            remember(run, record, sentence(error), replaces=tip)
        raise
    runs.start(run, base, settings, {**record, "note": form.get("note")}, replaces=tip)
    for key, value in changes.items():
        say("prepare", f"{key}: {value!r}")
    say("prepare", f"{run.ref} starts from {base[:12]}")
    return {"ref": run.ref}


def is_prepared(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether a run's record is of this run, and not of an attempt to prepare it that failed."""
    return REFUSED not in found and all(found.get(key) == value for key, value in expected.items())


def remember(run: runs.Run, record: Mapping[str, Any], message: str, *, replaces: str | None) -> None:
    """Keep, for the next look at the source, that a run on a version of it could not start."""
    with suppress(git.GitError):  # the error to report is the one before
        base = git.head()
        runs.start(run, base, git.read_file(base, runs.PARAMS), {**record, REFUSED: message}, replaces=replaces)


def begin(run: runs.Run, revision: str | None, version: str | None, changes: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the commit that a run starts from, and its settings; raises ValueError or FileNotFoundError.

    version: commit of a version of the source.
    """
    if version is not None and run.remote is not None and not git.has(version):
        runs.fetch_source(run.remote)
    base = runs.base_of(revision, version)
    text = git.read_file(base, runs.PARAMS).decode("utf-8")
    settings = orchestration_form.applied(text, absolute(base, changes) if version is None else changes).encode()
    check(settings, lambda path: is_there(path, base, links=version is None))
    return base, settings


def check_room() -> None:
    """Raise RoomError, before any work, if there may be too little space for a worktree or DVC's cache."""
    from dvc.repo import Repo

    least = load(Airflow).free_gigabytes
    with Repo() as repo:
        cache = Path(repo.cache.local_cache_dir)
    for what, path in {"the worktree": git.state_folder(), "DVC's cache": cache}.items():
        there = next(folder for folder in [path, *path.parents] if folder.exists())
        if (free := shutil.disk_usage(there).free / 1e9) < least:
            raise RoomError(
                f"{free:.2f} GB are free for {what} at {there}, expected {least} (airflow.free_gigabytes); free some "
                "space, or lower that setting"
            )


def absolute(base: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes, with an ingest.path outside the checkout made absolute, since a worktree is elsewhere."""
    settings: dict[str, Any] = YAML(typ="safe").load(git.read_file(base, runs.PARAMS))
    path = changes.get("ingest.path", settings.get("ingest", {}).get("path"))
    if isinstance(path, str) and not (resolved := Path(path).resolve()).is_relative_to(Path.cwd()):
        return {**changes, "ingest.path": str(resolved)}
    return dict(changes)


def is_there(path: str, base: str, *, links: bool) -> bool:
    """Return whether a run has a source: at its absolute path, or in its worktree at a commit, from Git or DVC.

    links: the worktree also has what the checkout has there.
    """
    if Path(path).is_absolute() or (links and Path(path).exists()):
        return Path(path).exists()
    place = Path(os.path.normpath(path))
    if place.is_relative_to(DATA / "raw"):
        from dvc.api import DVCFileSystem

        return bool(DVCFileSystem(".", rev=base).exists(place.as_posix()))
    return git.git("ls-tree", base, "--", place.as_posix()) != ""


def check(settings: bytes, exists: Callable[[str], bool]) -> None:
    """Raise ValueError if a stage would reject these settings; exists: whether the run has the source at a path."""
    from pipelines.settings import check as settings_check  # imports scipy, which no other task of this module needs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, runs.PARAMS)
        path.write_bytes(settings)
        try:
            settings_check.check(path, exists=exists)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(str(error).replace(str(path), "the run's params.yaml")) from None


def stage(run_id: str, name: str, attempt: int) -> Result:
    """Bring a stage of a run up to date, and save its part of dvc.lock (and the gate's verdict) under the ref."""
    run = runs.named(run_id)
    with worktree.workspace(run, name, attempt) as made:
        # earlier tasks left the inputs there; a retry fetches them, in case they are incomplete
        return reproduced(run, name, fetches=made or attempt > 1)


def reproduced(run: runs.Run, name: str, *, fetches: bool = True) -> Result:
    from pipelines.workspace import dvc_stage  # imports DVC, which takes half a second

    before = Path(runs.LOCK).read_bytes() if Path(runs.LOCK).is_file() else None
    os.environ[console.RUN] = run.run_id  # for the gate's entry in the ledger
    try:
        outcome = dvc_stage.reproduce(name, shared=run.remote is not None, fetches=fetches)
    except ValueError:
        keep_failed_page(run)
        raise
    lock = Path(runs.LOCK).read_bytes()
    extra: dict[str, bytes] = {}
    if name == "gate":
        outputs.verify(VERDICT)
        extra = {
            runs.VERDICT: VERDICT.read_bytes(),
            runs.REPORT: VERDICT.with_name("report.html").read_bytes(),
        }
    run.add(
        lambda tip: {runs.LOCK: runs.merged_lock(tip, lock, name, before=before), **extra}, f"{name} of {run.run_id}"
    )
    size = sum(outcome.wrote.values()) / 1e6
    say(
        name,
        f"{outcome.how} in {outcome.seconds:.1f} s; {len(outcome.wrote)} files of {size:,.1f} MB in {DATA / name}:",
    )
    for file, n_bytes in sorted(outcome.wrote.items()):
        say(name, f"  {file}  {n_bytes:,} bytes")
    result: Result = {"how": outcome.how, "seconds": round(outcome.seconds, 2), "wrote": outcome.wrote}
    if name == "gate":
        verdict = outputs.read_json(VERDICT)
        result |= {"verdict": verdict["verdict"], "reason": verdict["reason"]}
    return result


def keep_failed_page(run: runs.Run) -> None:
    """Save the page of a failed validation under the run's ref, since the worktree will be removed."""
    if FAILED_PAGE.is_file():
        page = FAILED_PAGE.read_bytes()
        run.add(lambda tip: {runs.VALIDATION: page}, f"failed validation of {run.run_id}")


def clean_up(run_id: str | None, attempt: int, failed: Mapping[str, str | None] | None = None) -> Result:
    """Remove the worktree of a run; its results are in DVC's cache and under its ref.

    run_id: None if no candidate was asked about; failed: the failed tasks, each with its message, if known, of a run
    that ends now; None: the run ended before.
    """
    if run_id is None:
        return {"skip": "no candidate was asked about, so there is nothing to clean up"}
    run = runs.named(run_id)
    worktree.discard(run, "clean_up", attempt)
    say("clean_up", f"removed {run.folder}; settings, dvc.lock and verdict are at {run.ref}")
    if failed is not None:
        data_versions.end(run, failed)
    return {"ref": run.ref}
