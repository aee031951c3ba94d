"""Commits whose data must not be lost: versions, runs that may still promote, the watched data, and work in Git."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from pipelines.registry import tags, version_files
from pipelines.settings.airflow import Airflow
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git, runs

WATCHED = "the watched data"


def refresh() -> None:
    """Fetch the versions, and the runs that workers share, from release.remote; raises GitError if it is out of reach.

    Data of a version that is unknown here would be taken for unused.
    """
    remote = load(Release).remote
    if remote is None:
        return
    tags.fetch(load(Champion), remote)
    if load(Airflow).workers == "remote":
        runs.fetch_all(remote)
        runs.fetch_source(remote)


def releases() -> dict[str, str]:
    """Return the commits of versions, open runs and the watched data, by what they are called."""
    found = {version.name: version.commit for version in tags.read(load(Champion)).versions.values()}
    found |= {f"run {name}": commit for name, commit in open_runs().items()}
    if (source := git.commit_of(runs.SOURCE)) is not None:
        found[WATCHED] = source
    return found


def open_runs() -> dict[str, str]:
    """Return the newest commits of runs without a verdict, and of candidates that nobody has promoted or refused."""
    registry = tags.read(load(Champion))
    released = {version_files.document(v.name, v.commit)["digests"]["model"] for v in registry.versions.values()}
    lines = git.git("for-each-ref", "--format=%(refname) %(objectname)", runs.REFS).splitlines()
    tips = {ref.removeprefix(f"{runs.REFS}/"): commit for ref, commit in (line.split() for line in lines)}
    paths = [f"{commit}:{path}" for commit in tips.values() for path in (runs.VERDICT, runs.DECISION)]
    read = git.read_files(paths)
    found = {}
    for (name, commit), verdict, decision in zip(tips.items(), read[::2], read[1::2], strict=True):
        if verdict is None or waits(verdict, decision, released):
            found[name] = commit
    return found


def waits(content: bytes, answer: bytes | None, released: Collection[str]) -> bool:
    """Return whether a candidate may still be promoted; answer: decision.json, of this or an earlier verdict."""
    verdict, decision = json.loads(content), json.loads(answer or b"{}")
    about = decision.get("verdict_sha256", digest := hashlib.sha256(content).hexdigest())
    refused = decision.get("decision") == "Reject" and about == digest
    return verdict["verdict"] == "PROMOTE" and not refused and verdict["digests"]["model"] not in released


def in_git() -> dict[str, str]:
    """Return the commits of all branches, tags, releases and DVC experiments, and those of all worktrees."""
    kinds = ("refs/heads", "refs/remotes", "refs/tags", tags.SIDE_REFS, "refs/exps")
    lines = git.git("for-each-ref", "--format=%(objecttype) %(*objecttype) %(refname)", *kinds).splitlines()
    names = [fields[-1] for line in lines if "commit" in (fields := line.split())]
    found = {name: commit for name in names if (commit := git.commit_of(name)) is not None}
    listed = git.git("worktree", "list", "--porcelain").splitlines()
    heads = (line.removeprefix("HEAD ") for line in listed if line.startswith("HEAD "))
    return found | {f"commit {head[:12]}": head for head in heads if head.strip("0")}


def worktrees() -> list[str]:
    """Return the folders of all worktrees of this repository that exist and use DVC."""
    listed = git.git("worktree", "list", "--porcelain").split("\n\n")
    blocks = [block.splitlines() for block in listed if block.strip()]
    folders = [block[0].removeprefix("worktree ") for block in blocks]
    return [folder for folder in folders if Path(folder, ".dvc").is_dir()]
