"""Runs as Git refs: `refs/longtail/runs/<name>` keeps the settings, dvc.lock and verdict of a run.

A run starts with a commit of the checkout, uncommitted changes included. Each finished stage adds a commit by
compare-and-set, so that workers on several machines, sharing the ref through a Git remote, lose no commits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.settings.airflow import Airflow
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git
from pipelines.workspace.snapshot import CODE, DESCRIPTION

REFS, SOURCE = "refs/longtail/runs", "refs/longtail/source"  # of runs, and of versions of the watched data
RECORD, VERDICT, REPORT, DECISION = "run/run.json", "run/verdict.json", "run/report.html", "run/decision.json"
VALIDATION = "run/validation.html"  # of data that failed it
LOCK, PARAMS = "dvc.lock", "params.yaml"
ATTEMPTS = 20


@dataclass(frozen=True)
class Run:
    """A run, by its Airflow id; remote: the Git remote through which its workers share it, if any."""

    run_id: str
    remote: str | None

    @property
    def name(self) -> str:
        """Return the id in a form that is safe in refs and paths."""
        safe = re.sub(r"[^A-Za-z0-9_-]+", "-", self.run_id).strip("-")[:80]
        return safe if safe == self.run_id else f"{safe}-{hashlib.sha256(self.run_id.encode()).hexdigest()[:8]}"

    @property
    def ref(self) -> str:
        return f"{REFS}/{self.name}"

    @property
    def folder(self) -> Path:
        return git.state_folder() / "runs" / self.name

    def tip(self) -> str | None:
        """Return the newest commit of the run, from the remote if it is shared; None before it was prepared."""
        if self.remote is not None and git.git("ls-remote", self.remote, self.ref):
            git.git("fetch", "--quiet", "--no-tags", self.remote, f"+{self.ref}:{self.ref}")
        return git.commit_of(self.ref)

    def prepared(self) -> str:
        """Return the newest commit; raises ValueError if there is none."""
        if (tip := self.tip()) is None:
            raise ValueError(f"{self.ref} does not exist: the run {self.run_id!r} was not prepared; clear `prepare`")
        return tip

    def record(self) -> dict[str, Any]:
        """Return run.json: the form, and the commit that the worktree starts from."""
        found: dict[str, Any] = json.loads(git.read_file(self.prepared(), RECORD))
        return found

    def verdict(self) -> dict[str, Any]:
        """Return verdict.json; raises ValueError if the gate has not finished."""
        try:
            found: dict[str, Any] = json.loads(git.read_file(self.prepared(), VERDICT))
        except git.GitError:
            raise ValueError(f"the run {self.run_id!r} has no verdict yet; wait until its gate has finished") from None
        return found

    def add(self, files: Callable[[str], Mapping[str, bytes]], message: str) -> str:
        """Commit files on the run's ref; if another worker was faster, `files` is called again with the new tip."""
        for _ in range(ATTEMPTS):
            tip = self.prepared()
            tree = git.tree_with(tip, files(tip))
            if tree == git.git("rev-parse", f"{tip}^{{tree}}"):
                return tip
            commit = git.commit_tree(tree, parent=tip, message=message)
            try:
                git.move_ref(self.ref, commit, tip, remote=self.remote)
            except git.GitError as error:
                failure = error
                continue
            return commit
        raise failure


def named(run_id: str) -> Run:
    """Return the run of an id, shared or not by params.yaml."""
    remote = load(Release).remote
    if load(Airflow).workers == "local":
        return Run(run_id, None)
    if remote is None:
        raise ValueError("airflow.workers is remote, but release.remote is null; set it to the workers' Git remote")
    return Run(run_id, remote)


def fetch_all(remote: str) -> None:
    """Update the refs of all runs from a Git remote."""
    git.git("fetch", "--quiet", "--no-tags", remote, f"+{REFS}/*:{REFS}/*")


def fetch_source(remote: str) -> None:
    """Update the ref of the watched data's versions from a Git remote, if the remote has it."""
    if git.git("ls-remote", remote, SOURCE):
        git.git("fetch", "--quiet", "--no-tags", remote, f"+{SOURCE}:{SOURCE}")


def start(run: Run, base: str, settings: bytes, record: Mapping[str, Any], *, replaces: str | None) -> None:
    """Point the ref to the commit `base` with the run's params.yaml and record added.

    replaces: tip of an earlier run of the same id, None if there was none; raises GitError if the ref differs.
    """
    content = json.dumps({**record, "base": base}, indent=2, sort_keys=True, ensure_ascii=False).encode()
    tree = git.tree_with(base, {PARAMS: settings, RECORD: content})
    commit = git.commit_tree(tree, parent=base, message=f"{run.run_id} starts\n\n{record.get('note') or ''}".rstrip())
    git.move_ref(run.ref, commit, replaces, remote=run.remote)


def base_of(revision: str | None, data: str | None) -> str:
    """Return the commit that a run starts from: a revision or the checkout, with the data version `data`, if given.

    data: commit whose `data/raw/*.dvc` files replace those of the checkout.
    """
    if revision is None:
        parent = git.head()
        tree = git.snapshot(always=DESCRIPTION, folders=(*CODE, "data/raw"), files={})
    elif found := git.commit_of(revision):
        parent = tree = found
    else:
        raise ValueError(f"revision {revision!r} does not exist in this repository; expected a branch, tag or commit")
    commit = git.commit_tree(git.git("rev-parse", f"{tree}^{{tree}}"), parent=parent, message="the checkout as it is")
    if data is not None:
        tracked = {path: git.read_file(data, path) for path in data_files(data)}
        commit = git.commit_tree(git.tree_with(commit, tracked), parent=parent, message=f"with the data of {data}")
    return commit


def data_files(commit: str) -> list[str]:
    """Return the paths of the `.dvc` files of a commit under data/raw."""
    listed = git.git("ls-tree", "-r", "--name-only", "-z", commit, "--", "data/raw/").split("\0")
    return [path for path in listed if path.endswith(".dvc")]


def merged_lock(tip: str, found: bytes, stage: str, *, before: bytes | None = None) -> bytes:
    """Return the dvc.lock of a commit with one stage from another dvc.lock: parallel stages each add their own.

    before: the other one before the stage ran. If the commit has the same, there is nothing to merge, and no YAML is
    parsed.
    """
    try:
        known = git.read_file(tip, LOCK)
    except git.GitError:
        known = None
    if known == before:
        return found
    yaml = YAML()
    lock: dict[str, Any] = {"schema": "2.0", "stages": {}} if known is None else yaml.load(known)
    lock["stages"][stage] = yaml.load(found)["stages"].get(stage)
    text = StringIO()
    yaml.dump(lock, text)
    return text.getvalue().encode()
