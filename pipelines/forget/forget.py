"""`longtail forget USER`: delete a user from source files, outputs of stages, DVC's cache and remote, and Bentos.

Outputs with the user are removed as a whole, with all files of the stage, since tables of indices are personal data
too; the next run rebuilds them without the user. The serving version is kept until a version without the user replaces
it, unless `--serving` is given.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs as artifacts
from pipelines.feedback import store
from pipelines.forget.search import PACKED, Traces
from pipelines.forget.source_rows import Source, rewrite, sources, user_columns
from pipelines.forget.stored_bentos import StoredBento, output_of, serving_version, stored
from pipelines.ingest.canonical import partitions, pseudonyms
from pipelines.ingest.sources import download
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.workspace import git


@dataclass
class Holders:
    """Places that mention a user."""

    names: list[str]  # id, and pseudonym if there is one
    sources: list[Source] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # outputs, partitions, downloads and pages to remove
    cached: list[str] = field(default_factory=list)  # object ids of DVC's cache
    remote: list[str] = field(default_factory=list)  # object ids of its remote
    bentos: list[StoredBento] = field(default_factory=list)
    n_events: int = 0  # in the feedback store
    beyond: list[str] = field(default_factory=list)  # data that stays, each with a remedy

    def lines(self) -> Iterator[str]:
        for name, found in {"source": [s.file.path for s in self.sources], "folder": self.folders}.items():
            yield from (f"{name}: {path}" for path in found)
        for name, ids in {"cache": self.cached, "remote": self.remote}.items():
            if ids:
                yield f"{name}: {len(ids):,} objects"
        for bento in self.bentos:
            lost = "; rolling back to it will be impossible" if bento.path.is_file() else ""
            yield f"bento: {bento.name} ({bento.path}){lost}"
        if self.n_events:
            yield f"feedback: {self.n_events:,} events"
        yield from self.beyond


def search(user_id: str, *, serving: bool = False) -> Holders:
    """Find all places that mention a user, by id or pseudonym; serving: include the serving version."""
    params = load(Ingest)
    names = [user_id]
    if params.pseudonyms is not None:
        names.append(pseudonyms.pseudonym(user_id, pseudonyms.key_in(params.pseudonyms)))
    traces, found = Traces(names, user_columns(params)), Holders(names)
    found.sources = [source for source in sources(params) if rewrite(source, user_id, dry=True)]
    found.folders = [path for path in places() if named_in(path, traces)]
    found.bentos = [bento for bento in stored() if named_in(bento.path, traces)]
    found.n_events = sum(map(store.count, names))
    with open_repo() as repo:
        found.cached = objects_of(repo.cache.local, traces)
        name = repo.config["core"].get("remote")
        if name is not None:
            found.remote = objects_of(repo.cloud.get_remote_odb(name), traces)
        if not serving:
            keep_serving(found, repo)
    for folder in other_worktrees():
        if any(named_in(path, traces) for path in outputs(folder)):
            found.beyond.append(f"not deleted: the worktree {folder}; run `longtail forget` there as well")
    if params.url is not None:
        found.beyond.append(f"not checked: {params.url}, which the next run reads again")
    return found


def keep_serving(found: Holders, repo: Any) -> None:
    """Exclude the Bento in service from the removal: a restarted server needs it."""
    version = serving_version()
    kept = [bento.name for bento in found.bentos if bento.serves]
    objects = objects_below(repo.cache.local, output_of(version)) if version else set()
    for place, ids in {"DVC's cache": found.cached, "its remote": found.remote}.items():
        if staying := objects.intersection(ids):
            kept.append(f"{len(staying)} objects of {place}")
            ids[:] = [oid for oid in ids if oid not in objects]
    found.bentos = [bento for bento in found.bentos if not bento.serves]
    if version and kept:
        found.beyond.append(
            f"not deleted: {version.name}, which serves: {', '.join(kept)}; `longtail run` trains and promotes a "
            "version without this user, then forget again; or delete it now with --serving, after which servers cannot "
            "restart until a version is promoted"
        )


def remove(user_id: str, found: Holders) -> None:
    for source in found.sources:
        rewrite(source, user_id, dry=False)
    for name in found.names:
        store.remove(name)
    for path in [*found.folders, *(bento.path for bento in found.bentos)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    git.git("worktree", "prune")
    with open_repo() as repo:
        for oid in found.cached:
            repo.cache.local.delete(oid)
        if found.remote:
            odb = repo.cloud.get_remote_odb(repo.config["core"]["remote"])
            for oid in found.remote:
                odb.delete(oid)


def open_repo() -> Any:
    from dvc.repo import Repo  # takes half a second, and only this command needs it

    return Repo()


def places() -> Iterator[Path]:
    """Yield the folders written by stages and caches, of this checkout and of the worktrees of runs."""
    yield from outputs(Path())
    yield from sorted(partitions.root().glob("*"))
    yield from sorted(download.folder().glob("*"))
    yield from sorted(path for path in runs().glob("*") if path.is_dir())


def outputs(checkout: Path) -> list[Path]:
    return sorted(path for path in (checkout / artifacts.DATA).glob("*") if path.name not in ("raw", ".gitignore"))


def runs() -> Path:
    return git.state_folder() / "runs"


def other_worktrees() -> list[Path]:
    """Return the worktrees that users made themselves."""
    listed = git.git("worktree", "list", "--porcelain").splitlines()
    folders = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
    return [folder for folder in folders if folder != Path.cwd() and folder.parent != runs()]


def named_in(place: Path, traces: Traces) -> bool:
    files = place
    if place.parent == runs():
        files = place / artifacts.DATA  # the rest is code
    elif (place / "bento.yaml").is_file():
        files = place / PACKED
    for path in [files] if files.is_file() else sorted(files.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if traces.in_file(path.name, file):
                    return True
    return False


def objects_of(odb: Any, traces: Traces) -> list[str]:
    """Return the ids of objects that mention a user, and of all objects in the same folder."""
    if not odb.fs.exists(odb.path):
        return []
    ids, named, folders = sorted(odb.all()), set(), {}
    for oid in ids:
        with odb.fs.open(odb.oid_to_path(oid), "rb") as file:
            if oid.endswith(".dir"):
                folders[oid] = [entry["md5"] for entry in json.load(file)]
            elif traces.in_file(oid, file):
                named.add(oid)
    for oid, members in folders.items():
        if named.intersection(members):
            named |= {oid, *members}
    return sorted(named & set(ids))


def objects_below(odb: Any, oid: str | None) -> set[str]:
    """Return the ids of a folder's object and its files; empty if this store lacks it."""
    path = odb.oid_to_path(oid) if oid else None
    if path is None or not odb.fs.exists(path):
        return set()
    with odb.fs.open(path, "rb") as file:
        return {str(oid), *(entry["md5"] for entry in json.load(file))}


def git_history(user_id: str) -> str:
    """Describe the traces of a user in Git: only digests, unless a committed file mentions the user."""
    try:
        named = git.git("grep", "-l", "-w", "-F", "-e", user_id, "HEAD", "--", "data", "dvc.lock")
    except git.GitError:
        return "Git history has only digests, which cannot be reversed"
    return f"not deleted: {', '.join(named.split())} in Git; rewrite its history if they are of this user"
