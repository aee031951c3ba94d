"""The text encoder of the Bento, as `bento/encoder.py` reads it: in half precision, and checked against data/embed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.bert_weights import arrange, supported
from models.factors import Factors
from models.numpy_encoder import NumpyEncoder, unit_vector
from models.tokens import tokenize
from pipelines._artifacts import read_json
from pipelines._encoder import Encoder

Halves = dict[str, npt.NDArray[np.float16]]
N_SAMPLE = 32  # items whose vectors are compared
NEAR = 0.999  # cosine of each; bf16, in which they may have been computed, leaves 0.9999


@dataclass(frozen=True)
class Sample:
    """What the vectors (n, t) of data/embed were made of: texts of one or several columns, and how much each counts."""

    texts: list[list[str]]
    weights: list[float]
    vectors: npt.NDArray[np.float32]


def write(model: Factors, encoder: Encoder, folder: Path, sample: Sample) -> dict[str, Any]:
    """Write the encoder for serving; how to use it, or the reason why there is none.

    Raises ValueError where, as it is written, it gives items other vectors than they have.
    """
    if model.neighbours is None:
        return {"reason": "its model was trained without texts"}
    config = read_json(encoder.folder / "config.json")
    if not supported(config):
        return {"reason": f"its encoder is a {config.get('model_type')}, and only those like BERT run without torch"}
    try:
        weights = load_file(encoder.folder / "model.safetensors")
    except (SafetensorError, TypeError, KeyError):  # a number format that numpy lacks
        return {"reason": "its encoder's weights are neither in single nor in half precision"}
    halves = {name: array.astype(np.float16) for name, array in weights.items() if array.dtype.kind == "f"}
    cosine = agreement(halves, config, encoder, sample)
    if not cosine >= NEAR:
        raise ValueError(f"the encoder for serving has cosine {cosine:.5f} with data/embed, expected {NEAR} or more")
    folder.mkdir()
    save_file(halves, folder / "model.safetensors")
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(encoder.folder / name, folder)
    about = {"pooling": encoder.pooling, "prompt": encoder.prompt, "max_length": encoder.max_length, "dim": encoder.dim}
    return about | {"cosine": round(cosine, 5)}


def agreement(halves: Halves, config: dict[str, Any], encoder: Encoder, sample: Sample) -> float:
    """The smallest cosine of items' vectors as serving would compute them with those that they have."""
    from tokenizers import Tokenizer

    states = NumpyEncoder(arrange({name: array.astype(np.float32) for name, array in halves.items()}, config))
    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))

    def vector(text: str) -> npt.NDArray[np.float32]:
        ids = tokenize(tokenizer, [encoder.prompt + text], max_length=encoder.max_length)[0] if text.strip() else []
        if not ids:
            return np.zeros(encoder.dim, np.float32)
        return unit_vector(states(ids), pooling=encoder.pooling, dim=encoder.dim)

    rows = np.flatnonzero(sample.vectors.any(axis=1))
    cosines = [1.0]
    for row in rows[:: max(1, len(rows) // N_SAMPLE)][:N_SAMPLE]:
        parts = [w * vector(texts[row]) for texts, w in zip(sample.texts, sample.weights, strict=True)]
        mixed = np.sum(parts, axis=0)
        cosines.append(float(mixed @ sample.vectors[row] / np.linalg.norm(mixed)))
    return min(cosines)
