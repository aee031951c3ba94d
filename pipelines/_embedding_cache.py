"""Vectors of texts that were embedded before: immutable shards, each named by the sha256 of its content.

A shard is written aside and renamed, so that a killed or a second writer never leaves half of one; a shard whose
content does not match its name is dropped and its texts are computed again.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from pipelines._artifacts import sha256, sync
from pipelines._embeddings import Vectors

ROOT = Path(".longtail") / "embeddings"


class EmbeddingCache:
    """The shards of one encoder, found by its digest."""

    def __init__(self, digest: str) -> None:
        self.folder = ROOT / digest
        self.dropped: list[Path] = []  # shards whose content was damaged

    def load(self) -> dict[bytes, Vectors]:
        """Vector (t,) by key of every text known."""
        known: dict[bytes, Vectors] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if sha256(path) != path.stem:
                self.dropped.append(path)
                path.unlink()
                continue
            shard = load_file(path)
            known.update(zip(map(bytes, shard["keys"]), shard["vectors"], strict=True))
        return known

    def add(self, keys: list[bytes], vectors: Vectors) -> None:
        """Store vectors (n, t) under their keys, durably."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".partial-{os.getpid()}"
        save_file({"keys": np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1), "vectors": vectors}, partial)
        sync(partial)
        partial.rename(self.folder / f"{sha256(partial)}.safetensors")
