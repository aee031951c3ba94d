"""Files of a released version, verified: from `.longtail/releases`, else from the DVC cache or remote at its commit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs
from pipelines.artifacts.outputs import DATA
from pipelines.runtime.console import TemporaryError
from pipelines.workspace import git

RECORD = "release/release.json"
VERDICT = "release/verdict.json"
BENTO = "release/bento.json"

MODEL = DATA / "train" / "model.safetensors"
ITEMS = DATA / "split" / "items.parquet"
ARCHIVE = DATA / "package" / "longtail.tar"
FORMER_ARCHIVE = ARCHIVE.with_name("longtail.bento")  # of early releases: xz, which BentoML recognises by the file name
FILES = (MODEL, ITEMS, ARCHIVE)  # required to serve a version, and to compare with it as champion


def document(version: str, commit: str, path: str = RECORD) -> dict[str, Any]:
    """Read a JSON file in the release commit of a version; raises ValueError if the commit is of another version."""
    record = carried(version, commit, RECORD)
    if (named := record.get("version")) != version:
        raise ValueError(
            f"the tag of {version} was moved to commit {commit[:12]}, which is the release of {named}; point it to "
            f"refs/longtail/releases/{version} again with `git tag --force --annotate`"
        )
    return record if path == RECORD else carried(version, commit, path)


def carried(version: str, commit: str, path: str) -> dict[str, Any]:
    try:
        content = git.read_file(commit, path)
    except git.GitError:
        raise ValueError(
            f"commit {commit[:12]} has no {path}: {version} was not made by `longtail promote`; "
            f"take it out of the registry with `gto deprecate NAME {version}`, where NAME is champion.name"
        ) from None
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def archive(version: str, commit: str) -> Path:
    """Return the local path of a version's Bento."""
    return obtain(version, commit, archive_of(document(version, commit)))


def archive_of(record: Mapping[str, Any]) -> Path:
    """Return the archive in a release's record."""
    return ARCHIVE if ARCHIVE.as_posix() in record["files"] else FORMER_ARCHIVE


def obtain(version: str, commit: str, path: Path) -> Path:
    """Return the local path of a file of a version, verified by the sha256 in the version's record."""
    expected = document(version, commit)["files"][path.as_posix()]
    kept = git.state_folder() / "releases" / version / path.name
    if kept.is_file() and outputs.sha256(kept) == expected:
        return kept
    with outputs.written(kept) as partial:  # another worktree may fetch the same file
        try:
            download(commit, path, partial)
        except Exception as error:  # DVC's remotes raise the errors of their drivers
            if not is_lost(error):
                raise TemporaryError(
                    f"{path} of {version} could not be fetched from the DVC remote ({brief(error)}); check that the "
                    "remote is reachable, then try again"
                ) from error
            raise FileNotFoundError(
                f"{path} of {version} is neither in the DVC cache nor in a remote ({brief(error)}); run "
                "`longtail push` where it was promoted, or set the remote here with `dvc remote add --default`"
            ) from error
        if (actual := outputs.sha256(partial)) != expected:
            raise ValueError(
                f"{path} of {version} is corrupted in the DVC cache or remote: sha256 is {actual}, the release "
                f"has {expected}; run `longtail doctor --remote`, which removes damaged objects, then try again"
            )
    return kept


def is_lost(error: Exception) -> bool:
    """Return whether DVC does not have a file, or no remote; any other error of a remote may pass."""
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError  # a list of files that is missing, or that a remote did not give

    if isinstance(error, DataIndexDirError):
        return default_remote() is None
    return isinstance(error, (DvcException, FileNotFoundError))


def download(commit: str, path: Path, target: Path) -> None:
    """Copy a file from DVC at a commit."""
    with files_at(commit) as fs, fs.open(path.as_posix(), "rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def sha256_at(commit: str, paths: Sequence[Path]) -> dict[str, str]:
    """Return the sha256 of files in DVC at a commit; raises FileNotFoundError if its dvc.lock or cache lacks one."""
    found = {}
    try:
        with files_at(commit) as fs:
            for path in paths:
                with fs.open(path.as_posix(), "rb") as file:
                    found[path.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    except Exception as error:  # as in obtain
        names = " or ".join(map(str, paths))
        raise FileNotFoundError(f"DVC does not have the judged {names} ({brief(error)}); run `dvc repro`") from error
    return found


@contextmanager
def files_at(commit: str) -> Iterator[Any]:
    """Return the data at a commit as an fsspec file system: from the cache, else from this checkout's default remote.

    The present remote comes first because the commit may be older than its configuration; a clone without a remote uses
    the remote in the commit itself, which opening DVCFileSystem by path would replace by the empty cache.
    """
    from dvc.api import DVCFileSystem  # takes half a second, and most calls find the file in .longtail
    from dvc.repo import Repo

    with Repo(Path.cwd()) as here:
        name = here.config["core"].get("remote")
        config = {"core": {"remote": name}, "remote": {name: here.config["remote"][name]}} if name else None
    with Repo(Path.cwd(), rev=commit, config=config) as repo:
        yield DVCFileSystem(repo=repo)


def default_remote() -> str | None:
    """Return the name of the DVC remote that this checkout pushes to and pulls from."""
    from dvc.repo import Repo

    with Repo(Path.cwd()) as repo:
        name: str | None = repo.config["core"].get("remote")
    return name


def brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
