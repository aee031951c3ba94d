"""data/embed/embeddings.safetensors: a unit vector per item, and in its header the encoder that made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

NAME = "embeddings.safetensors"
Vectors = npt.NDArray[np.float32]


def write(vectors: Vectors, path: Path, *, encoder: str, model: str) -> None:
    """Write vectors (n_items, t) by item_idx; encoder: its digest, model: its name in params."""
    # one key: safetensors writes several in no fixed order, and equal vectors shall be equal files
    header = json.dumps({"encoder": encoder, "model": model}, sort_keys=True)
    save_file({"embeddings": vectors}, path, metadata={"longtail": header})


def read(path: Path, *, n_items: int) -> tuple[Vectors, str]:
    """Vectors (n_items, t) and the digest of their encoder; raises ValueError where they are of other items."""
    with safe_open(path, framework="numpy") as file:
        vectors: Vectors = file.get_tensor("embeddings")
        encoder: str = json.loads(file.metadata()["longtail"])["encoder"]
    if len(vectors) != n_items:
        raise ValueError(f"{path} has {len(vectors)} rows, but the split has {n_items} items; run `dvc repro embed`")
    return vectors, encoder
