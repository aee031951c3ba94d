"""`longtail doctor`: diagnose a checkout, repair what is safe to repair, print a fix for the rest.

It repairs only states that cannot be wanted: an empty dvc.lock or rwlock, leftovers of killed stages, and damaged files
in caches, which would be used as if they were good.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from pipelines.artifacts import outputs as artifacts
from pipelines.bentos.store import user_home
from pipelines.cli.data import remote_states
from pipelines.feedback import store as feedback_store
from pipelines.ingest.canonical import partitions as canonical_partitions
from pipelines.ingest.sources.table import EXPORTS
from pipelines.privacy import modes as privacy_modes
from pipelines.privacy.shown import credential
from pipelines.registry import tags
from pipelines.settings.champion import Champion
from pipelines.settings.check import CLASSES
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.workspace import dvc_locks

ROOM = 2 << 30  # free bytes that a run should have
NEEDED = ("dvc", "gto", "duckdb", "great-expectations", "bentoml", "torch", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """A line of the report; remedy: a fix for the user to apply, None if there is nothing to do."""

    text: str
    remedy: str | None = None


def examine(*, remote: bool = False) -> Iterator[Finding]:
    """Run all checks. remote: also rehash every object of the DVC remote, which reads all of it."""
    checks: tuple[Callable[[], Iterator[Finding]], ...]
    checks = (environment, settings, locks, unfinished, outputs, cache, partitions, modes, disk, store, registry)
    for check in (*checks, partial(remotes, rehash=remote)):
        try:
            yield from check()
        except (ValueError, OSError) as error:
            yield Finding(" ".join(str(error).split()), "see the message")


def environment() -> Iterator[Finding]:
    """Check that the packages are installed in the tested versions."""
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", Path("constraints.txt").read_text("utf-8"), re.MULTILINE))
    wrong = []
    for name in NEEDED:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "absent"
        if name in pinned and found.split("+")[0] != pinned[name].split("+")[0]:
            wrong.append(f"{name} is {found}, expected {pinned[name]}")
    if wrong:
        yield Finding(f"environment: {', '.join(wrong)}", "run `make setup`")
    else:
        yield Finding(f"environment: Python {platform.python_version()}, {len(NEEDED)} packages as pinned")


def settings() -> Iterator[Finding]:
    for section in CLASSES:
        load(section)
    yield Finding(f"params.yaml: {len(CLASSES)} sections are valid")


def locks() -> Iterator[Finding]:
    if holders := dvc_locks.holders():
        yield Finding(f"locks: DVC is running ({holders})", "wait until it ends, or end it")
        return
    for text in dvc_locks.mend():
        yield Finding(f"locks: {text}")
    yield Finding("locks: free")


def unfinished() -> Iterator[Finding]:
    """Remove leftovers of killed stages, unless a stage is running."""
    found = [path for path in artifacts.DATA.glob(".*") if path.suffix in (".partial", ".old")]
    if found and dvc_locks.holders():
        yield Finding(f"unfinished: {', '.join(map(str, found))}, of a running stage")
        return
    for path in found:
        shutil.rmtree(path)
        yield Finding(f"unfinished: removed {path}, left by a killed stage")


def outputs() -> Iterator[Finding]:
    """Rehash every file written by a stage."""
    n = 0
    for folder in sorted(path.parent for path in artifacts.DATA.glob("*/" + artifacts.MANIFEST)):
        try:
            for name in artifacts.read_manifest(folder)["files"]:
                artifacts.verify(folder / name)
                n += 1
        except (ValueError, FileNotFoundError) as error:
            yield Finding(f"outputs: {error}", artifacts.anew(folder))
    yield Finding(f"outputs: {n:,} files rehashed")


def cache() -> Iterator[Finding]:
    """Rehash DVC's cache and remove damaged objects, which DVC would check out."""
    folder = Path(dvc("cache", "dir")) / "files" / "md5"
    n = 0
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
        n += 1
        if md5(path) != path.parent.name + path.stem:
            path.unlink()
            yield Finding(f"cache: removed {path}, which was damaged", "run `dvc pull` or `dvc repro` to restore it")
    yield Finding(f"cache: {n:,} objects of {folder} rehashed")


def partitions() -> Iterator[Finding]:
    """Remove damaged partitions; ingest reads their files again."""
    folders = sorted(path for path in canonical_partitions.root().glob("*") if path.is_dir())
    damaged = [folder.name for folder in folders if canonical_partitions.opened(folder) is None]
    text = f"partitions: {len(folders):,} rehashed"
    yield Finding(text + (f", {len(damaged)} damaged ones removed" if damaged else ""))


def modes() -> Iterator[Finding]:
    """Restrict files with user data or secrets to owner and group; only report DVC's cache, which users may share."""
    feedback = feedback_store.url()
    store = [Path(feedback.database)] if feedback.get_backend_name() == "sqlite" and feedback.database else []
    beside = [path.with_name(path.name + end) for path in store for end in ("-wal", "-shm")]
    exports = Path(load(Ingest).path).glob(EXPORTS)
    found = [path for path in (*privacy_modes.CLOSED, *store, *beside, *exports) if privacy_modes.is_open(path)]
    for path in found:
        if privacy_modes.close(path):
            yield Finding(f"modes: {path} was accessible to other users; access removed")
        else:
            remedy = f"let its owner run `chmod o= {path}`"
            yield Finding(f"modes: {path} belongs to another user and is accessible to all users", remedy)
    cache = Path(dvc("cache", "dir"))
    if privacy_modes.is_open(cache) and cache.absolute() != Path(".dvc/cache").absolute():
        remedy = f"share it by a group (`dvc config cache.shared group`), then `chmod o= {cache}`"
        yield Finding(f"modes: {cache} (DVC's cache) is accessible to other users", remedy)
    yield Finding(f"modes: {len(privacy_modes.CLOSED)} folders of this checkout are inaccessible to other users")


def disk() -> Iterator[Finding]:
    for name, path in {"data": artifacts.DATA, "cache": Path(dvc("cache", "dir"))}.items():
        there = next(folder for folder in [path.absolute(), *path.absolute().parents] if folder.exists())
        free = shutil.disk_usage(there).free
        remedy = "free some space, or move it: `dvc cache dir`" if free < ROOM else None
        yield Finding(f"disk: {free / 1e9:,.1f} GB free for {name}", remedy)


def store() -> Iterator[Finding]:
    """Check that BentoML's store, from which versions are served, is writable."""
    folder = user_home()
    there = next(path for path in [folder, *folder.parents] if path.exists())
    writable = os.access(there, os.W_OK)
    yield Finding(f"store: {folder}", None if writable else "make it writable, or set BENTOML_HOME")


def registry() -> Iterator[Finding]:
    serving = tags.read(load(Champion)).serving
    yield Finding(f"registry: {serving.name if serving else 'no version'} serves")


def remotes(*, rehash: bool) -> Iterator[Finding]:
    """Check that the default DVC remote is reachable, verified on pull, and undamaged."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            yield Finding("remote: none; `dvc remote add -d NAME URL` shares data between machines")
            return
        shared = repo.config.read("repo").get("remote", {})  # from Git, without .dvc/config.local
        for each, of_remote in shared.items():
            if what := credential(of_remote.get("url", "")):
                remedy = (
                    f"put it into .dvc/config.local: `dvc remote modify --local {each} url …`, and change the secret"
                )
                yield Finding(
                    f"remote: the address of {each} in .dvc/config contains {what}, and every release copies it", remedy
                )
        try:
            odb = repo.cloud.get_remote_odb(name)
            reachable = odb.fs.exists(odb.path)
        except (DvcException, OSError) as error:
            yield Finding(f"remote: {name} cannot be reached ({error})", "correct it in .dvc/config")
            return
        yield Finding(f"remote: {name} is {'reachable' if reachable else 'empty'}")
        if not repo.config["remote"][name].get("verify"):
            remedy = f"run `dvc remote modify {name} verify true`"
            yield Finding(f"remote: {name} is not verified on pull", remedy)
        for oid in odb.all() if rehash and reachable else []:
            with odb.fs.open(odb.oid_to_path(oid), "rb") as file:
                actual = hashlib.file_digest(file, "md5").hexdigest()
            if actual != oid.removesuffix(".dir"):
                odb.delete(oid)
                yield Finding(
                    f"remote: removed {oid}, which was damaged", "run `longtail push` on a machine with an intact copy"
                )
        for state in remote_states(repo, name, odb) if rehash else []:
            push = "run `longtail push` on the machine that made it"
            yield Finding(f"remote: {state.text()}", push if state.missing else None)


def dvc(*arguments: str) -> str:
    """Return the standard output of a DVC command."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"dvc {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
