"""Vectors of texts that were embedded before, in `.longtail/embeddings/<encoder>/<precision>` of all worktrees.

A folder holds immutable shards; writers add files and never change one, so that neither a second writer nor a killed
one can spoil what others read.
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
FULL = 1 << 16  # rows: a shard of as many is left alone; smaller ones are merged
MANY = 16  # small shards that are merged into one
STALE = 3600.0  # seconds after which a half-written file is a killed writer's


def root() -> Path:
    """Folder of the cache, which all worktrees share."""
    return git.state_folder() / "embeddings"


def key(text: str) -> bytes:
    """128 bits that identify a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keys_of(texts: Iterable[str]) -> Keys:
    """Keys of texts, (n, 2)."""
    return np.frombuffer(b"".join(map(key, texts)), "<u8").reshape(-1, 2).astype(np.uint64, copy=False)


def add(folder: Path, keys: Keys, vectors: Halves) -> None:
    """Store vectors (n, t) under their keys, durably; whoever opens the cache from now on finds them."""
    shards.write(folder, keys, vectors)


class EmbeddingCache:
    """Vectors of length `dim` by key, from the shards that `folders` hold now; the first folder leads."""

    def __init__(self, folders: Sequence[Path], dim: int) -> None:
        self.dim = dim
        self.damaged: list[Path] = []  # files that were no whole shards
        self.shards: list[Shard] = []
        for folder in folders:
            opened, damaged = open_all(folder, dim)
            self.shards += opened
            self.damaged += damaged
        self.starts = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
        keys = np.concatenate([np.zeros((0, 2), np.uint64), *(shard.keys for shard in self.shards)])
        self.order = np.argsort(keys[:, 0], kind="stable")  # equal keys: the one of the first folder leads
        self.high, self.low = keys[self.order, 0], keys[self.order, 1]

    def __len__(self) -> int:
        return len(self.order)

    def find(self, keys: Keys) -> Rows:
        """Row of each key (n, 2) for `read`, or -1 where it is not known. Quickest when keys are in order."""
        rows = np.full(len(keys), -1, np.intp)
        if len(self) == 0:
            return rows
        at = np.searchsorted(self.high, keys[:, 0])
        asked = np.arange(len(keys))
        while len(asked):  # once, but for texts whose first 64 bits agree
            asked = asked[at[asked] < len(self)]
            asked = asked[self.high[at[asked]] == keys[asked, 0]]
            hit = self.low[at[asked]] == keys[asked, 1]
            rows[asked[hit]] = self.order[at[asked[hit]]]
            asked = asked[~hit]
            at[asked] += 1
        return rows

    def read(self, rows: Rows) -> tuple[Halves, npt.NDArray[np.bool_]]:
        """Vectors (b, t) of rows that were found, and which of them are undamaged."""
        vectors, intact = np.empty((len(rows), self.dim), np.float16), np.zeros(len(rows), np.bool_)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(owner):
            of_shard = np.flatnonzero(owner == number)
            found = self.shards[number].read(rows[of_shard] - self.starts[number])
            vectors[of_shard], intact[of_shard] = found
        return vectors, intact

    def owners(self, rows: Rows) -> list[Path]:
        """Files that hold the rows."""
        return [self.shards[n].path for n in np.unique(np.searchsorted(self.starts, rows, side="right") - 1)]

    def touch(self) -> None:
        """Say that this encoder's shards were of use now: what was not for the longest time is removed first."""
        for shard in self.shards:
            with suppress(OSError):  # removed meanwhile, or another user's
                os.utime(shard.path)


def open_all(folder: Path, dim: int) -> tuple[list[Shard], list[Path]]:
    """Shards of a folder, and the files there that are none; a shard that is merged meanwhile is found merged."""
    while True:
        opened, damaged = [], []
        try:
            for path in sorted(folder.glob(f"*{shards.SUFFIX}")):
                try:
                    opened.append(shards.open_shard(path, dim))
                except ValueError:  # as JSON and numpy raise it as well
                    damaged.append(path)
        except FileNotFoundError:
            continue
        return opened, damaged


def merge(folder: Path, dim: int) -> None:
    """Make one shard of many small ones, leaving out rows that are damaged; nothing where another process does so."""
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
    """Consecutive shards that together fill one, or are the last."""
    group: list[Shard] = []
    for shard in small:
        group.append(shard)
        if sum(len(member.keys) for member in group) >= FULL:
            yield group
            group = []
    if len(group) > 1:
        yield group


def drop_damaged(paths: Iterable[Path], dim: int) -> None:
    """Write shards anew without the rows that are damaged."""
    for path in paths:
        with suppress(FileNotFoundError), alone(path.parent):
            rewrite(path.parent, [shards.open_shard(path, dim)])


def rewrite(folder: Path, group: Sequence[Shard]) -> None:
    """Replace shards by one that holds the undamaged rows of all, each key once."""
    kept = [(shard, shard.read(np.arange(len(shard.keys)))) for shard in group]
    keys = np.concatenate([shard.keys[intact] for shard, (_, intact) in kept])
    vectors = np.concatenate([vectors[intact] for _, (vectors, intact) in kept])
    _, first = np.unique(keys, axis=0, return_index=True)
    final = shards.write(folder, keys[first], vectors[first]) if len(first) else None
    for shard in group:
        if shard.path != final:
            shard.path.unlink(missing_ok=True)


def prune(folder: Path, limit: int) -> tuple[int, int]:
    """Remove what was not of use for the longest time until `limit` bytes remain; files removed, bytes freed."""
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
    """Whether this process alone may rewrite shards of the folder; the system takes that back from a killed one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
