"""Text encoder of the Bento in the format of `bento/model/encoder.py`, checked against data/embed before it is used.

half     the encoder itself, its weights in 16 bits
int8     the same with matrices in eight bits, only if nearest items stay the same
static   a table of tokens distilled from it: coarse, with the lowest cost per text
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.inference.encoder import static_encoder
from models.inference.encoder.bert_weights import arrange, supported
from models.inference.encoder.numpy_encoder import NumpyEncoder, unit_vector
from models.inference.encoder.projection import COMPONENTS, MEAN, Projection
from models.inference.encoder.quantization import quantized, restored
from models.inference.encoder.tokens import tokenize
from models.inference.factors import Factors
from models.packaging.neighbour_overlap import overlap
from pipelines.artifacts.checkpoint import Encoder, load
from pipelines.artifacts.outputs import read_json

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]
Form = Literal["half", "int8", "static"]
N_SAMPLE = 32  # items for the comparison of vectors
N_ASKED, K = 200, 10  # items for the comparison of neighbours, and neighbours of each
NEAR = 0.999  # minimum cosine of each; computation in bf16 gives 0.9999
KEPT = 0.95  # share of the neighbours that int8 has to preserve
N_FITTED = 20_000  # texts for fitting a table


@dataclass(frozen=True)
class Sample:
    """Source of the vectors (n, t) of data/embed: texts of one or several columns, and the weight of each."""

    texts: list[list[str]]
    weights: list[float]
    vectors: Floats
    projection: Projection | None = None  # their reduction, if any

    def rows(self, most: int) -> npt.NDArray[np.intp]:
        """Return evenly spread items that have a vector."""
        rows = np.flatnonzero(self.vectors.any(axis=1))
        return rows[:: max(1, len(rows) // most)][:most]

    def of(self, row: int, vector: Callable[[str], Floats]) -> Floats:
        """Return an item's unit vector by an encoder of texts."""
        mixed = np.sum([w * vector(texts[row]) for texts, w in zip(self.texts, self.weights, strict=True)], axis=0)
        whole = static_encoder.unit(mixed)
        return whole if self.projection is None else self.projection(whole[None])[0]


def write(model: Factors, encoder: Encoder, folder: Path, sample: Sample, form: Form = "half") -> dict[str, Any]:
    """Write the encoder for serving; return its use, or the reason why there is none.

    Raises ValueError if the written encoder gives items other vectors than data/embed, or other neighbours.
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
    if form == "static" and sample.projection is not None:
        raise ValueError("package.encoder is static, which needs embed.reduce: null; set either")
    arrays, vector = prepared(form, weights, config, encoder, sample)
    figures = checked(form, sample, vector)
    folder.mkdir()
    if sample.projection is not None:
        arrays |= {MEAN: sample.projection.mean, COMPONENTS: sample.projection.components}
    save_file(arrays, folder / "model.safetensors")
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(encoder.folder / name, folder)
    about = {"pooling": encoder.pooling, "prompt": encoder.prompt, "max_length": encoder.max_length, "dim": encoder.dim}
    return about | {"form": form} | figures


def prepared(
    form: Form, weights: Arrays, config: dict[str, Any], encoder: Encoder, sample: Sample
) -> tuple[Arrays, Callable[[str], Floats]]:
    """Return the written arrays, and a function from a text to its vector."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))

    def tokens(text: str) -> list[int]:
        return tokenize(tokenizer, [encoder.prompt + text], max_length=encoder.max_length)[0] if text.strip() else []

    def with_table(text: str) -> Floats:
        return static_encoder.vector(table, tokens(text))

    def with_states(text: str) -> Floats:
        ids = tokens(text)
        if not ids:
            return np.zeros(encoder.dim, np.float32)
        return unit_vector(states(ids), pooling=encoder.pooling, dim=encoder.dim)

    if form == "static":
        table = distil(encoder, tokens, sample).astype(np.float16)
        return {"table": table}, with_table
    arrays = {name: array.astype(np.float16) for name, array in weights.items() if array.dtype.kind == "f"}
    arrays = quantized(arrays) if form == "int8" else arrays
    states = NumpyEncoder(arrange(restored(arrays), config))
    return arrays, with_states


def distil(encoder: Encoder, tokens: Callable[[str], list[int]], sample: Sample) -> Floats:
    """Return the table (v, t) of the encoder's tokens, fitted on the items of the sample."""
    import torch

    from models.compute.precision import choose
    from models.encoders.text_encoder import encode

    device = torch.device("cpu")
    states, tokenizer = load(encoder, device=device, dtype=choose("auto", device))
    around = tokenizer.encode("").ids  # the tokens before and after every text
    before, after = around[: len(around) // 2], around[len(around) // 2 :]
    ids = [[*before, number, *after] for number in range(tokenizer.get_vocab_size())]
    alone = np.zeros((len(ids), encoder.dim), np.float32)
    for rows, found in encode(states, ids, pooling=encoder.pooling, batch_tokens=2048, dim=encoder.dim):
        alone[rows] = found
    rows = sample.rows(N_FITTED)
    texts: Sequence[str] = [" ".join(column[row] for column in sample.texts) for row in rows.tolist()]
    return static_encoder.distilled(alone, [tokens(text) for text in texts], sample.vectors[rows])


def checked(form: Form, sample: Sample, vector: Callable[[str], Floats]) -> dict[str, float]:
    """Return the encoder's agreement with the items' vectors; raises ValueError if it is too low for its form."""
    rows = sample.rows(N_SAMPLE if form == "half" else N_ASKED)
    found = np.array([sample.of(row, vector) for row in rows.tolist()], np.float32).reshape(-1, sample.vectors.shape[1])
    exact = sample.vectors[rows]
    cosine = float((found * exact).sum(axis=1).min(initial=1.0))
    if form == "half":
        if not cosine >= NEAR:
            raise ValueError(
                f"the encoder for serving has cosine {cosine:.5f} with data/embed, expected {NEAR} or more"
            )
        return {"cosine": round(cosine, 5)}
    kept = overlap(exact, found, sample.vectors, k=K)
    if form == "int8" and not kept >= KEPT:
        raise ValueError(
            f"the encoder in int8 keeps {kept:.3f} of the {K} nearest items (overlap of {len(rows)} items, smallest "
            f"cosine {cosine:.4f}), expected {KEPT} or more; set package.encoder to half"
        )
    return {"cosine": round(cosine, 5), f"overlap@{K}": round(kept, 4)}
