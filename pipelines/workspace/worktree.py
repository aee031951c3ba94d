"""Working folder of a run: a Git worktree at its commit, which shares DVC's cache with the user's checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.privacy import modes
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.workspace import dvc_locks, git, lock, runs
from pipelines.workspace.runs import Run

GIT_LOCK = "longtail-worktrees"  # `git worktree prune` removes a worktree that another process is adding
ABANDONED = 86_400.0  # seconds after its last task


@contextmanager
def workspace(run: Run, task: str, attempt: int = 1) -> Iterator[bool]:
    """Work in the run's folder, with an exclusive lock; create it if missing, and update it to the run's ref.

    Yields True if it is new, without any stage's output. It is kept for the next task, unless workers share the run
    through remotes: then any worker may get that task.
    """
    checkout = Path.cwd()
    with lock.hold(run.folder, task, attempt):
        made = refresh(run, checkout)
        os.chdir(run.folder)
        for text in dvc_locks.mend():
            say(task, text)
        try:
            yield made
        finally:
            os.chdir(checkout)
            if run.remote is not None:
                forget(run)


def refresh(run: Run, checkout: Path) -> bool:
    """Create the worktree if missing, update params.yaml and dvc.lock to the run's; return whether it is new."""
    tip, record = run.prepared(), run.record()
    base = record["base"]
    made: bool = head_of(run.folder) != base
    if made:
        remove(run.folder)
        add(run.folder, base)
    if not (run.folder / ".dvc" / "config.local").is_file():
        share_cache(run.folder, checkout)
    for name in (runs.PARAMS, runs.LOCK):
        with suppress(git.GitError):
            content = git.read_file(tip, name)
            if not (run.folder / name).is_file() or (run.folder / name).read_bytes() != content:
                (run.folder / name).write_bytes(content)
    (run.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # of a killed DVC: this task is the only one here
    if not record["data"]:  # otherwise DVC has the data version of this run
        link_source(run.folder, checkout)
    return made


def head_of(folder: Path) -> str | None:
    """Return the commit of a worktree; None if the folder is not a worktree."""
    try:
        return git.git("-C", str(folder), "rev-parse", "HEAD") if (folder / ".git").is_file() else None
    except git.GitError:
        return None


def add(folder: Path, commit: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with git.lock(GIT_LOCK):
        git.git("worktree", "prune")
        git.git("worktree", "add", "--quiet", "--detach", "--force", str(folder), commit)


def remove(folder: Path) -> None:
    """Remove a worktree, even a damaged one, and Git's record of it."""
    if folder.exists():
        shutil.rmtree(folder)
    with git.lock(GIT_LOCK):
        git.git("worktree", "prune")


def discard(run: Run, task: str, attempt: int = 1) -> None:
    """End the processes in a run's worktree and remove it; its outputs stay in DVC's cache."""
    with lock.hold(run.folder, task, attempt):
        forget(run)


def forget(run: Run) -> None:
    """Remove a run's worktree and its lock file, which this process has locked."""
    remove(run.folder)
    run.folder.with_name(f"{run.folder.name}.lock").unlink(missing_ok=True)


def prune(*, older_than: float = ABANDONED) -> None:
    """Remove worktrees unused for `older_than` seconds, left by unfinished runs.

    A later task of such a run recreates its worktree, with inputs from DVC's cache.
    """
    for path in (git.state_folder() / "runs").glob("*.lock"):
        with path.open("a+") as file, suppress(BlockingIOError):  # a task has locked it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > older_than:
                remove(path.with_suffix(""))
                path.unlink()


def share_cache(folder: Path, checkout: Path) -> None:
    """Copy the DVC settings of the checkout to a worktree, with absolute paths of cache and remotes."""
    from dvc.config import Config
    from dvc.repo import Repo

    with Repo(checkout) as repo:
        local = Config(dvc_dir=str(checkout / ".dvc")).read("local")
        cache, kinds = repo.cache.local_cache_dir, repo.config["cache"].get("type") or ["hardlink", "copy"]
        remotes = {name: settings["url"] for name, settings in repo.config["remote"].items()}
        default = repo.config["core"].get("remote")
    if Path(cache).is_relative_to(checkout):
        modes.close(Path(cache))
    with Config(dvc_dir=str(folder / ".dvc")).edit("local") as settings:
        settings.update(local)
        settings.setdefault("cache", {}).update(dir=cache, type=kinds)
        if default is not None:
            settings.setdefault("core", {})["remote"] = default
        for name, url in remotes.items():
            settings.setdefault("remote", {}).setdefault(name, {})["url"] = url


def link_source(folder: Path, checkout: Path) -> None:
    """Add the files of ingest.path that Git does not track to a worktree, as hard links if possible."""
    path = Path(load(Ingest, folder / runs.PARAMS).path)
    if path.is_absolute() or not (checkout / path).exists():
        return
    sources = [checkout / path] if (checkout / path).is_file() else sorted((checkout / path).rglob("*"))
    for source in sources:
        target = folder / source.relative_to(checkout)
        if not source.is_file() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:  # another disk
            shutil.copy2(source, target)
