"""Shard, a file of the embedding cache: sorted 128-bit keys and a float16 matrix beside them, memory-mapped.

Every row has a checksum over its key and its vector, so that a damaged row is detected when it is read, without
reading the whole file.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipelines.artifacts.outputs import sha256, sync

Keys = npt.NDArray[np.uint64]  # (n, 2)
Halves = npt.NDArray[np.float16]
SUFFIX = ".safetensors"
PARTIAL = ".partial-"


@dataclass(frozen=True)
class Shard:
    """Shard: keys (n, 2) in ascending order, sums (n,), vectors (n, t)."""

    path: Path
    keys: Keys
    sums: npt.NDArray[np.uint64]
    vectors: Halves

    def read(self, rows: npt.NDArray[np.intp]) -> tuple[Halves, npt.NDArray[np.bool_]]:
        """Return the vectors (b, t) of the rows, and a mask of the undamaged ones."""
        vectors = self.vectors[rows]
        return vectors, check_sums(self.keys[rows], vectors) == self.sums[rows]


def write(folder: Path, keys: Keys, vectors: Halves) -> Path:
    """Store rows durably under a name from their content: in a temporary file, renamed when it is complete."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys, vectors = np.ascontiguousarray(keys[order]), np.ascontiguousarray(vectors[order])
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"
    save_file({"keys": keys, "sums": check_sums(keys, vectors), "vectors": vectors}, partial)
    sync(partial)
    final = folder / f"{sha256(partial)[:32]}{SUFFIX}"
    partial.rename(final)
    sync(folder)
    return final


def open_shard(path: Path, dim: int) -> Shard:
    """Map a shard of vectors of length `dim`. Raises ValueError if it is not valid, OSError if it is missing."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # raises ValueError for an empty file
    start = 8 + int.from_bytes(content[:8], "little")
    if start > len(content):
        raise ValueError(f"{path} ends within its header")
    header = json.loads(content[8:start])

    def array(name: str, kind: str) -> npt.NDArray[Any]:
        begin, end = header[name]["data_offsets"]
        itemsize = np.dtype(kind).itemsize
        return np.frombuffer(content, kind, (end - begin) // itemsize, start + begin).reshape(header[name]["shape"])

    try:
        keys, sums, vectors = array("keys", "<u8"), array("sums", "<u8"), array("vectors", "<f2")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged header: {error!r}") from None
    n = len(sums)
    if keys.shape != (n, 2) or vectors.shape != (n, dim):
        raise ValueError(f"{path} does not have {n} rows of {dim}")
    return Shard(path, keys, sums, vectors)


def length(path: Path) -> int:
    """Return the number of texts in a shard; 0 if it is not valid."""
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("sums").get_shape()[0])
    except (SafetensorError, OSError):
        return 0


def check_sums(keys: Keys, vectors: Halves) -> npt.NDArray[np.uint64]:
    """Return a checksum per row, (n,): its 16-bit words and its key times odd weights, modulo 2^64.

    As weights are odd, every change of a single word changes the sum.
    """
    if vectors.shape[1] % 4:
        vectors = np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % 4)))
    words = np.ascontiguousarray(vectors).view(np.uint64)  # (n, t / 4)
    weights = np.arange(words.shape[1] + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    weights |= np.uint64(1)
    sums = keys @ weights[:2] + np.uint64(1)  # so that the sum of a row of zeros is not 0
    for start in range(0, len(sums), 1024):  # the products of a few rows fit into the processor's cache
        sums[start : start + 1024] += words[start : start + 1024] @ weights[2:]
    return np.asarray(sums, np.uint64)
