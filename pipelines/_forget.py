"""`longtail forget USER`: takes a user out of the source files, of what stages wrote, of DVC's cache and its remote.

What was made with the user goes as a whole: a stage's output with all its files, since tables of indices belong to the
person too. The next run makes it anew without the user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _artifacts as artifacts
from pipelines import _csv, _download, _feedback_store, _git, _movielens_source, _partitions, _pseudonyms, _table_source
from pipelines._params import Ingest, load
from pipelines._records import Dialect, records
from pipelines._traces import Traces


@dataclass(frozen=True)
class Source:
    """A file of the user's own: how its text separates fields, and which column names users."""

    path: Path
    dialect: Dialect
    column: str
    names: list[str] | None = None


@dataclass
class Holders:
    """Where a user was found."""

    names: list[str]  # id, and pseudonym where there is one
    sources: list[Source] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # outputs, partitions, downloads and pages, to be removed
    cached: list[str] = field(default_factory=list)  # object ids of DVC's cache
    remote: list[str] = field(default_factory=list)  # object ids of its remote
    n_events: int = 0  # in the feedback store
    beyond: list[str] = field(default_factory=list)  # what is for a person to do

    def lines(self) -> Iterator[str]:
        for name, found in {"source": [s.path for s in self.sources], "folder": self.folders}.items():
            yield from (f"{name}: {path}" for path in found)
        for name, ids in {"cache": self.cached, "remote": self.remote}.items():
            if ids:
                yield f"{name}: {len(ids):,} objects"
        if self.n_events:
            yield f"feedback: {self.n_events:,} events"
        yield from self.beyond


def search(user_id: str) -> Holders:
    """Every place that names a user, by id or by pseudonym."""
    params = load(Ingest)
    names = [user_id]
    if params.pseudonyms is not None:
        names.append(_pseudonyms.pseudonym(user_id, _pseudonyms.key_in(params.pseudonyms)))
    traces, found = Traces(names), Holders(names)
    found.sources = [source for source in sources(params) if rewrite(source, user_id, dry=True)]
    found.folders = [path for path in places() if named_in(path, traces)]
    found.n_events = sum(map(_feedback_store.count, names))
    with open_repo() as repo:
        found.cached = objects_of(repo.cache.local, traces)
        name = repo.config["core"].get("remote")
        if name is not None:
            found.remote = objects_of(repo.cloud.get_remote_odb(name), traces)
    store = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml") / "bentos"
    for folder in sorted(store.glob("*/*/")):
        if named_in(folder, traces):
            found.beyond.append(f"still there: Bento {folder.parent.name}:{folder.name}; `bentoml delete` it")
    if params.url is not None:
        found.beyond.append(f"still there, maybe: {params.url}, from which the next run reads again")
    return found


def remove(user_id: str, found: Holders) -> None:
    for source in found.sources:
        rewrite(source, user_id, dry=False)
    for name in found.names:
        _feedback_store.remove(name)
    for path in found.folders:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with open_repo() as repo:
        for oid in found.cached:
            repo.cache.local.delete(oid)
        if found.remote:
            odb = repo.cloud.get_remote_odb(repo.config["core"]["remote"])
            for oid in found.remote:
                odb.delete(oid)


def open_repo() -> Any:
    from dvc.repo import Repo  # half a second that no other command needs

    return Repo()


def sources(params: Ingest) -> list[Source]:
    """The files that name users in a column."""
    if params.source == "demo" or params.url is not None:
        return []
    path = Path(params.path)
    if params.source == "table":
        dialect = Dialect(params.table.delimiter, params.table.quote)
        root, patterns = (path.parent, [path.name]) if path.is_file() else (path, params.table.interactions)
        files = _table_source.find(root, patterns, "ingest.table.interactions")
        return [Source(file, dialect, params.table.columns.user_id) for file in files]
    release = _movielens_source.find(path)
    dat = release.suffix == ".dat"
    return [
        Source(
            release.path(kind),
            Dialect("::", None) if dat else Dialect(",", '"'),
            "userId",
            _movielens_source.COLUMNS[kind] if dat else None,
        )
        for kind in ("ratings", "tags")
        if release.path(kind).is_file()
    ]


def places() -> Iterator[Path]:
    """What stages and caches of this checkout have written."""
    yield from sorted(path for path in artifacts.DATA.glob("*") if path.name not in ("raw", ".gitignore"))
    yield from sorted(_partitions.root().glob("*"))
    yield from sorted(_download.folder().glob("*"))


def named_in(place: Path, traces: Traces) -> bool:
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if traces.in_file(path.name, file):
                    return True
    return False


def objects_of(odb: Any, traces: Traces) -> list[str]:
    """Ids of the objects that name a user, and of all that belong to the same folder as one of them."""
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


def rewrite(source: Source, user_id: str, *, dry: bool) -> bool:
    """Whether a source file names a user; unless `dry`, it is written again without these rows."""
    partial = source.path.with_name(f".{source.path.name}.partial")
    try:
        write = rewrite_parquet if source.path.suffix == ".parquet" else rewrite_text
        found = write(source, user_id, partial)
        if found and not dry:
            artifacts.sync(partial)
            partial.replace(source.path.resolve())
        return found
    finally:
        partial.unlink(missing_ok=True)


def rewrite_parquet(source: Source, user_id: str, target: Path) -> bool:
    found = False
    file = pq.ParquetFile(source.path)
    with pq.ParquetWriter(target, file.schema_arrow, write_page_checksum=True) as writer:
        for batch in file.iter_batches():
            ids = batch[source.column].cast(pa.string())
            others = [value != user_id for value in ids.to_pylist()]
            found = found or not all(others)
            writer.write_batch(batch.filter(others))
    return found


def rewrite_text(source: Source, user_id: str, target: Path) -> bool:
    """Records of the user are left out, and broken ones that name it; the others keep every byte but their line end."""
    found = False
    words = re.compile(Traces([user_id]).words)
    with TemporaryDirectory(dir=source.path.parent, prefix=".forget-") as scratch:
        text = _csv.open_text(source.path, source.dialect, names=source.names, scratch=Path(scratch))
        place = text.columns.index(source.column)
        packed = _csv.PACKED.get(source.path.suffix)
        with (
            text.path.open(encoding="latin-1", newline=None) as file,
            pa.output_stream(str(target), compression=packed or "detect") as output,
        ):
            for number, lines, whole in records(file, source.dialect, n_fields=len(text.columns)):
                record = "\n".join(lines)
                readable = record.encode("latin-1").decode("utf-8", "backslashreplace")
                fields = source.dialect.split(readable) if whole else None
                if number > int(text.has_header) or not text.has_header:
                    exact = fields is not None and len(fields) == len(text.columns)
                    if fields[place] == user_id if exact and fields else words.search(readable):
                        found = True
                        continue
                output.write(f"{record}\n".encode("latin-1"))
    return found


def git_history(user_id: str) -> str:
    """What Git holds of a user: digests, unless somebody committed a file that names it."""
    try:
        named = _git.git("grep", "-l", "-w", "-F", "-e", user_id, "HEAD", "--", "data", "dvc.lock")
    except _git.GitError:
        return "Git history holds digests, which cannot be turned back"
    return f"still there: {', '.join(named.split())} in Git; rewrite its history if they are of this user"
