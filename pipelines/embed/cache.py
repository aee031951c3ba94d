"""Cache of text vectors, in `.longtail/embeddings/<encoder>/<precision>`, shared by all worktrees.

A folder contains immutable shards; writers add files and never change one, so that neither a second nor a killed
writer can corrupt the data of readers.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.embed import shards
from pipelines.embed.shards import Halves, Keys, Shard
from pipelines.workspace import git

Rows = npt.NDArray[np.intp]
FULL = 1 << 16  # rows of a full shard; smaller ones are merged
MANY = 16  # number of small shards that triggers a merge
STALE = 3600.0  # seconds after which a partial file counts as left by a killed writer


def root() -> Path:
    """Return the folder of the cache, shared by all worktrees."""
    return git.state_folder() / "embeddings"


def key(text: str) -> bytes:
    """Return 128 bits that identify a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keys_of(texts: Iterable[str]) -> Keys:
    """Return the keys of texts, (n, 2)."""
    return np.frombuffer(b"".join(map(key, texts)), "<u8").reshape(-1, 2).astype(np.uint64, copy=False)


def add(folder: Path, keys: Keys, vectors: Halves) -> None:
    """Store vectors (n, t) under their keys, durably, for every cache opened from now on."""
    shards.write(folder, keys, vectors)


class EmbeddingCache:
    """Cached vectors of length `dim` by key, from the present shards of `folders`; the first folder has priority."""

    def __init__(self, folders: Sequence[Path], dim: int) -> None:
        self.dim = dim
        self.damaged: list[Path] = []  # files that are not valid shards
        self.shards: list[Shard] = []
        for folder in folders:
            opened, damaged = open_all(folder, dim)
            self.shards += opened
            self.damaged += damaged
        self.starts = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
        keys = np.concatenate([np.zeros((0, 2), np.uint64), *(shard.keys for shard in self.shards)])
        self.order = np.argsort(keys[:, 0], kind="stable")  # for equal keys the first folder has priority
        self.high, self.low = keys[self.order, 0], keys[self.order, 1]

    def __len__(self) -> int:
        return len(self.order)

    def find(self, keys: Keys) -> Rows:
        """Return the row of each key (n, 2) for `read`, or -1 for a missing one. Fastest if keys are in order."""
        rows = np.full(len(keys), -1, np.intp)
        if len(self) == 0:
            return rows
        at = np.searchsorted(self.high, keys[:, 0])
        asked = np.arange(len(keys))
        while len(asked):  # once, except for keys with equal first 64 bits
            asked = asked[at[asked] < len(self)]
            asked = asked[self.high[at[asked]] == keys[asked, 0]]
            hit = self.low[at[asked]] == keys[asked, 1]
            rows[asked[hit]] = self.order[at[asked[hit]]]
            asked = asked[~hit]
            at[asked] += 1
        return rows

    def read(self, rows: Rows) -> tuple[Halves, npt.NDArray[np.bool_]]:
        """Return the vectors (b, t) of found rows, and a mask of the undamaged ones."""
        vectors, intact = np.empty((len(rows), self.dim), np.float16), np.zeros(len(rows), np.bool_)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(owner):
            of_shard = np.flatnonzero(owner == number)
            found = self.shards[number].read(rows[of_shard] - self.starts[number])
            vectors[of_shard], intact[of_shard] = found
        return vectors, intact

    def owners(self, rows: Rows) -> list[Path]:
        """Return the files with the rows."""
        return [self.shards[n].path for n in np.unique(np.searchsorted(self.starts, rows, side="right") - 1)]

    def touch(self) -> None:
        """Mark this encoder's shards as used now: the least recently used ones are removed first."""
        for shard in self.shards:
            with suppress(OSError):  # removed meanwhile, or owned by another user
                os.utime(shard.path)


def open_all(folder: Path, dim: int) -> tuple[list[Shard], list[Path]]:
    """Return the shards of a folder, and its invalid files; a shard that is merged meanwhile is found merged."""
    while True:
        opened, damaged = [], []
        try:
            for path in sorted(folder.glob(f"*{shards.SUFFIX}")):
                try:
                    opened.append(shards.open_shard(path, dim))
                except ValueError:  # JSON and numpy raise it too
                    damaged.append(path)
        except FileNotFoundError:
            continue
        return opened, damaged


def merge(folder: Path, dim: int) -> None:
    """Merge many small shards into one, without damaged rows; do nothing if another process is merging."""
    with alone(folder) as granted:
        if not granted:
            return
        opened, damaged = open_all(folder, dim)
        for path in damaged:
            path.unlink(missing_ok=True)
        small = [shard for shard in opened if len(shard.keys) < FULL]
        if len(small) >= MANY:
            for group in groups(small):
                rewrite(folder, group)


def groups(small: Sequence[Shard]) -> Iterator[list[Shard]]:
    """Yield groups of consecutive shards that together fill one, or are the last."""
    group: list[Shard] = []
    for shard in small:
        group.append(shard)
        if sum(len(member.keys) for member in group) >= FULL:
            yield group
            group = []
    if len(group) > 1:
        yield group


def drop_damaged(paths: Iterable[Path], dim: int) -> None:
    """Rewrite shards without their damaged rows."""
    for path in paths:
        with suppress(FileNotFoundError), alone(path.parent):
            rewrite(path.parent, [shards.open_shard(path, dim)])


def rewrite(folder: Path, group: Sequence[Shard]) -> None:
    """Replace shards by one with the undamaged rows of all, each key once."""
    kept = [(shard, shard.read(np.arange(len(shard.keys)))) for shard in group]
    keys = np.concatenate([shard.keys[intact] for shard, (_, intact) in kept])
    vectors = np.concatenate([vectors[intact] for _, (vectors, intact) in kept])
    _, first = np.unique(keys, axis=0, return_index=True)
    final = shards.write(folder, keys[first], vectors[first]) if len(first) else None
    for shard in group:
        if shard.path != final:
            shard.path.unlink(missing_ok=True)


def prune(folder: Path, limit: int) -> tuple[int, int]:
    """Remove the least recently used files until `limit` bytes remain; return numbers of files and bytes removed."""
    for path in folder.rglob(f"{shards.PARTIAL}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
    found = []
    for path in folder.rglob(f"*{shards.SUFFIX}"):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in found) - limit
    removed = freed = 0
    for _, size, path in sorted(found):
        if freed >= excess:
            break
        path.unlink(missing_ok=True)
        removed, freed = removed + 1, freed + size
    return removed, freed


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Yield whether this process holds the folder's lock for rewriting; the system releases that of a killed one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
