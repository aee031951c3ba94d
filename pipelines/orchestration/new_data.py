"""New data: versions of the source data by DVC, one per change, under `refs/longtail/source`.

The commit of a version has the `.dvc` files of data/raw, so that a run reads exactly these data, on any machine. The
ref is also the record of the last seen data; the runs' refs tell whether a run has judged them. Work is done in a
worktree: the user's checkout is not changed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.artifacts.outputs import DATA
from pipelines.ingest.sources import download, http
from pipelines.orchestration import data_versions
from pipelines.orchestration.data_versions import Training
from pipelines.runtime.console import say
from pipelines.settings.airflow import Airflow
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.settings.release import Release
from pipelines.workspace import git, lock, runs, worktree

SEEN = "source.json"
RAW = DATA / "raw"
MOST_FAILURES = 3  # runs of a version that may fail before a person has to ask for another one
OURS = ("README.md", ".gitignore")


def look(attempt: int, active: int = 0, waiting: int = 0, again: bool = False) -> dict[str, Any]:
    """Return a version of the source for a run to train on (commit, changes of params.yaml), or `skip` and the reason.

    That is a new version, or the last one as long as no run has judged it. active: how many trainings Airflow has
    queued or running; waiting: how many of them are not prepared yet; again: return the last version whatever became
    of its runs.
    """
    params = load(Ingest)
    if params.source == "demo":
        return {"skip": "the run generates the demo data itself; set ingest.source to watch your own data"}
    remote = load(Release).remote if load(Airflow).workers == "remote" else None
    if remote is not None:
        runs.fetch_source(remote)
    source, before, seen = params.url or params.path, git.commit_of(data_versions.REF), traces(params)
    if before is not None and json.loads(git.read_file(before, SEEN)) == seen:
        unchanged = f"no change at {source}"
    else:
        place, files = taken(params, attempt)
        if before is None or content_of(before) != files:
            commit = record(files, seen, before, source=source, remote=remote)
            say("look", f"new data at {source}: {commit[:12]} of {data_versions.REF} has {', '.join(sorted(files))}")
            return announced(commit, place)
        unchanged = f"{source} has new timestamps, but the same content"
    trainings = data_versions.trainings(before, remote=remote, active=active)
    waits, text = outlook(trainings, waiting=min(waiting, active), again=again)
    text = f"{unchanged}; version {before[:12]} {text}"
    if waits:
        return {"skip": text}
    say("look", f"{text}; announcing it again")
    return announced(before, place_of(params))


def outlook(trainings: list[Training], *, waiting: int, again: bool) -> tuple[bool, str]:
    """Return False if a version has to be announced again, True if not, and a sentence without subject that says why.

    trainings: the runs on it, oldest first; waiting and again: as for `look`.
    """
    by_state = {state: [run for run in trainings if run.state == state] for state in ("running", "judged", "failed")}
    if at_work := by_state["running"]:
        return True, f"is in training: run {at_work[-1].run_id}, {at_work[-1].text}"
    if judged := by_state["judged"]:
        return not again, f"was judged by the run {judged[-1].run_id}: {judged[-1].text}"
    text = "waits: no run has begun on it"
    if failed := by_state["failed"]:
        count = f"{len(failed)} of {MOST_FAILURES} runs failed"
        text = f"has no verdict: {count}, the last one, {failed[-1].run_id}, {failed[-1].text}"
    if len(failed) >= MOST_FAILURES and not again:
        return True, f'{text}. Correct the cause, then trigger watch_source by hand with {{"again": true}}'
    if waiting and not again:
        return True, f"{text}; runs of train_recommender that have not begun yet: {waiting}"
    return False, text


def announced(commit: str, place: Path) -> dict[str, Any]:
    overrides, files = {"ingest.path": place.as_posix(), "ingest.url": None}, sorted(runs.data_files(commit))
    text = f"version {commit[:12]} of the source, with {', '.join(files)}, starts a training"
    return {"commit": commit, "overrides": overrides, "files": files, "text": text}


def taken(params: Ingest, attempt: int) -> tuple[Path, dict[str, bytes]]:
    """Give the source of now to DVC; return ingest.path of a run on it, and its `.dvc` files by path."""
    checkout, folder = Path.cwd(), git.state_folder() / "source"
    with lock.hold(folder, "look", attempt):
        worktree.remove(folder)
        worktree.add(folder, git.head())
        worktree.share_cache(folder, checkout)
        place, names = copy(params, folder)
        files = versioned(folder, names)
        worktree.remove(folder)
    return place, files


def record(
    files: dict[str, bytes], seen: dict[str, Any], before: str | None, *, source: str, remote: str | None
) -> str:
    """Move the ref from `before` to a new version, whose commit is returned."""
    tree = git.tree_with(git.head(), {**files, SEEN: json.dumps(seen, sort_keys=True).encode()})
    commit = git.commit_tree(tree, parent=before or git.head(), message=f"data of {source}")
    git.move_ref(data_versions.REF, commit, before, remote=remote)
    return commit


def traces(params: Ingest) -> dict[str, Any]:
    """Return the evidence of a change that is available without reading the data."""
    if params.url is not None:
        with http.request("HEAD", params.url, headers={}, timeout=download.TIMEOUT) as answer:
            answer.raise_for_status()
            return {key: answer.headers.get(key) for key in ("ETag", "Last-Modified", "Content-Length")} | {
                "url": params.url
            }
    found = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files_of(Path(params.path))}
    if not found:
        raise FileNotFoundError(f"{params.path} (ingest.path) has no files; put your data there")
    return {"files": found}


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a source, without metadata files."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and file.name not in OURS and file.suffix not in (".dvc", ".partial", ".lock"):
            yield file


def place_of(params: Ingest) -> Path:
    """Return ingest.path of a run on a version of the source, which is below data/raw."""
    if params.url is not None:
        return RAW / download.file_name(params.url)
    path = Path(params.path).resolve()
    return RAW / (path.relative_to(RAW.resolve()) if path.is_relative_to(RAW.resolve()) else path.name)


def copy(params: Ingest, folder: Path) -> tuple[Path, list[str]]:
    """Copy the source below data/raw of a worktree; return (ingest.path there, names in data/raw for `dvc add`).

    Copies instead of hard links, since DVC makes added files read-only.
    """
    place, names = place_of(params), set()
    if params.url is not None:
        (folder / RAW).mkdir(parents=True, exist_ok=True)
        download.transfer(params.url, folder / place, backoff=1.0)
        return place, [place.name]
    path = Path(params.path).resolve()
    for file in files_of(path):
        target = folder / place / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
        names.add(target.relative_to(folder / RAW).parts[0])
    return place, sorted(names)


def versioned(folder: Path, names: list[str]) -> dict[str, bytes]:
    """`dvc add` names in data/raw, push them if there is a default remote, and return the `.dvc` files by path."""
    from dvc.repo import Repo

    here = Path.cwd()
    os.chdir(folder)
    try:
        for stale in RAW.glob("*.dvc"):
            if stale.stem not in names:
                stale.unlink()
        with Repo() as repo:
            repo.add([(RAW / name).as_posix() for name in names])
        with Repo() as repo:  # a new one, which knows the added files
            if repo.config["core"].get("remote"):
                repo.push(targets=[(RAW / f"{name}.dvc").as_posix() for name in names])
        return {path.as_posix(): path.read_bytes() for path in RAW.glob("*.dvc")}
    finally:
        os.chdir(here)


def content_of(commit: str) -> dict[str, bytes]:
    return {path: git.read_file(commit, path) for path in runs.data_files(commit)}
