"""The folder that a run works in: a Git worktree at its commit, which shares DVC's cache with the user's checkout."""

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

GIT_LOCK = "longtail-worktrees"  # Git prunes what another process is just adding
ABANDONED = 86_400.0  # seconds after its last task


@contextmanager
def workspace(run: Run, task: str, attempt: int = 1) -> Iterator[bool]:
    """Work in the run's folder, alone; it is made where it is missing, and brought to what the run's ref holds.

    Yields whether it was made now, without any stage's output. It stays for the next task, unless workers share the run
    through remotes: nobody knows then who gets that task.
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
    """Make the worktree where there is none, bring params.yaml and dvc.lock to what the run has; whether it is new."""
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
    (run.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # of a killed DVC; nobody else works here
    if not record["data"]:  # else DVC has the version that this run is about
        link_source(run.folder, checkout)
    return made


def head_of(folder: Path) -> str | None:
    """The commit that a worktree is at; None where the folder is no worktree."""
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
    """Remove a worktree, whole or damaged, and what Git knows of it."""
    if folder.exists():
        shutil.rmtree(folder)
    with git.lock(GIT_LOCK):
        git.git("worktree", "prune")


def discard(run: Run, task: str, attempt: int = 1) -> None:
    """Remove a run's worktree, and end what still works in it. Its outputs stay in DVC's cache."""
    with lock.hold(run.folder, task, attempt):
        forget(run)


def forget(run: Run) -> None:
    """Remove a run's worktree and its lock, which this process holds."""
    remove(run.folder)
    run.folder.with_name(f"{run.folder.name}.lock").unlink(missing_ok=True)


def prune(*, older_than: float = ABANDONED) -> None:
    """Remove worktrees that nobody has worked in for so many seconds, as runs leave behind that were never finished.

    A task of such a run, should there be one yet, finds its worktree made anew, and its inputs in DVC's cache.
    """
    for path in (git.state_folder() / "runs").glob("*.lock"):
        with path.open("a+") as file, suppress(BlockingIOError):  # whoever owns it works there
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > older_than:
                remove(path.with_suffix(""))
                path.unlink()


def share_cache(folder: Path, checkout: Path) -> None:
    """Give a worktree the DVC settings of the checkout, its cache and the paths of its remotes made absolute."""
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
    """Give a worktree the files of ingest.path that Git does not hold, by hard links where the disk can."""
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
