"""data/embed/embeddings.safetensors: a unit vector per item, with their encoder in the header.

projection.safetensors is beside it if the encoder's vectors were reduced to their principal components.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from models.inference.encoder.projection import Projection

NAME, PROJECTION = "embeddings.safetensors", "projection.safetensors"
Vectors = npt.NDArray[np.float32]


@contextmanager
def create(
    path: Path, n_items: int, dim: int, *, encoder: str, model: str, revision: str | None = None
) -> Iterator[Vectors]:
    """Create the file with zeros (n_items, dim) by item_idx and yield them, memory-mapped, to be filled in place.

    encoder: its digest, model: its name in params, revision: the commit of a hub's model.
    """
    # one key, since several have no fixed order, and equal vectors must give equal files
    provenance = json.dumps({"encoder": encoder, "model": model, "revision": revision}, sort_keys=True)
    size = n_items * dim * 4
    tensor = {"dtype": "F32", "shape": [n_items, dim], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"longtail": provenance}, "embeddings": tensor}).encode()
    header += b" " * (-len(header) % 8)  # the format aligns its data
    with path.open("w+b") as file:
        # allocate now: on a full disk, a later write to the map would kill the process without an error
        os.posix_fallocate(file.fileno(), 0, 8 + len(header) + size)
        file.write(len(header).to_bytes(8, "little") + header)
        file.flush()
        content = mmap.mmap(file.fileno(), 0)
    yield np.frombuffer(content, np.float32, n_items * dim, 8 + len(header)).reshape(n_items, dim)
    content.flush()


def read(path: Path, *, n_items: int) -> tuple[Vectors, str]:
    """Return vectors (n_items, t) and the digest of their encoder; raises ValueError if they are of other items."""
    with safe_open(path, framework="numpy") as file:
        vectors: Vectors = file.get_tensor("embeddings")
        encoder: str = json.loads(file.metadata()["longtail"])["encoder"]
    if len(vectors) != n_items:
        raise ValueError(f"{path} has {len(vectors)} rows, but the split has {n_items} items; run `dvc repro embed`")
    return vectors, encoder


def write_projection(projection: Projection, path: Path) -> None:
    save_file({"mean": projection.mean, "components": projection.components}, path)


def read_projection(path: Path) -> Projection:
    arrays = load_file(path)
    return Projection(arrays["mean"], arrays["components"])


def identity(encoder: str, projection: Projection | None) -> str:
    """Return a digest of everything vectors depend on: their encoder and, if any, their reduction."""
    if projection is None:
        return encoder
    parts = (encoder.encode(), projection.mean.tobytes(), projection.components.tobytes())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()
