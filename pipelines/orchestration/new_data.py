"""New data: versions of the source data by DVC, one per change, under `refs/longtail/source`.

The commit of a version has the `.dvc` files of data/raw, so that a run reads exactly these data, on any machine. The
ref is also the record of the last seen data. Work is done in a worktree: the user's checkout is not changed.
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
from pipelines.runtime.console import say
from pipelines.settings.airflow import Airflow
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.settings.release import Release
from pipelines.workspace import git, lock, runs, worktree

REF, SEEN = runs.SOURCE, "source.json"
RAW = DATA / "raw"
OURS = ("README.md", ".gitignore")


def look(attempt: int) -> dict[str, Any]:
    """Return the new version of the source (commit, and changes of params.yaml for a run), or `skip` and the reason."""
    params, checkout = load(Ingest), Path.cwd()
    if params.source == "demo":
        return {"skip": "the run generates the demo data itself; set ingest.source to watch your own data"}
    remote = load(Release).remote if load(Airflow).workers == "remote" else None
    if remote is not None and git.git("ls-remote", remote, REF):
        git.git("fetch", "--quiet", "--no-tags", remote, f"+{REF}:{REF}")
    before = git.commit_of(REF)
    seen = traces(params)
    if before is not None and json.loads(git.read_file(before, SEEN)) == seen:
        return {"skip": f"no change at {params.url or params.path}"}
    folder = git.state_folder() / "source"
    with lock.hold(folder, "look", attempt):
        worktree.remove(folder)
        worktree.add(folder, git.head())
        worktree.share_cache(folder, checkout)
        place, names = copy(params, folder)
        files = versioned(folder, names)
        worktree.remove(folder)
    version = {"overrides": {"ingest.path": place.as_posix(), "ingest.url": None}, "files": sorted(files)}
    if before is not None and content_of(before) == files:
        return {"skip": f"{params.url or params.path} has new timestamps, but the same content"}
    tree = git.tree_with(git.head(), {**files, SEEN: json.dumps(seen, sort_keys=True).encode()})
    commit = git.commit_tree(tree, parent=before or git.head(), message=f"data of {params.url or params.path}")
    git.move_ref(REF, commit, before, remote=remote)
    say("look", f"new data at {params.url or params.path}: {commit[:12]} of {REF} has {', '.join(sorted(files))}")
    return {"commit": commit, **version}


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


def copy(params: Ingest, folder: Path) -> tuple[Path, list[str]]:
    """Copy the source below data/raw of a worktree; return (ingest.path there, names in data/raw for `dvc add`).

    Copies instead of hard links, since DVC makes added files read-only.
    """
    if params.url is not None:
        name = download.file_name(params.url)
        (folder / RAW).mkdir(parents=True, exist_ok=True)
        download.transfer(params.url, folder / RAW / name, backoff=1.0)
        return RAW / name, [name]
    path = Path(params.path).resolve()
    inside = path.is_relative_to(RAW.resolve())
    root, place = (RAW.resolve(), RAW / path.relative_to(RAW.resolve())) if inside else (path.parent, RAW / path.name)
    names = set()
    for file in files_of(path):
        target = folder / RAW / file.relative_to(root)
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
