"""A text encoder small enough for tests: one layer of random weights over the words that texts are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from models.inference.encoder.bert_weights import arrange
from models.inference.encoder.numpy_encoder import NumpyEncoder, unit_vector
from models.inference.encoder.tokens import tokenize

H, LONGEST = 16, 300
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "hidden_size": H, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": LONGEST, "layer_norm_eps": 1e-12,
}  # fmt: skip


def write(folder: Path, words: Sequence[str]) -> None:
    """config.json, tokenizer.json and model.safetensors of an encoder that knows the words."""
    folder.mkdir(exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *dict.fromkeys(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights(len(vocabulary)), folder / "model.safetensors")


def weights(n_words: int) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    layer = "encoder.layer.0"
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (rows, columns) in {
        "attention.self.query": (H, H), "attention.self.key": (H, H), "attention.self.value": (H, H),
        "attention.output.dense": (H, H), "intermediate.dense": (2 * H, H), "output.dense": (H, 2 * H),
    }.items():  # fmt: skip
        shapes |= {f"{layer}.{name}.weight": (rows, columns), f"{layer}.{name}.bias": (rows,)}
    shapes |= {
        "embeddings.word_embeddings.weight": (n_words, H),
        "embeddings.position_embeddings.weight": (LONGEST, H),
        "embeddings.token_type_embeddings.weight": (2, H),
    }
    found = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in ("embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"):
        found |= {f"{norm}.weight": np.ones(H, np.float32), f"{norm}.bias": np.zeros(H, np.float32)}
    return found


def vectors(folder: Path, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Unit vectors (n, H) of texts, as the embed stage computes them."""
    n_words = len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    found = weights(n_words)
    states, tokenizer = NumpyEncoder(arrange(found, CONFIG)), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = tokenize(tokenizer, texts, max_length=256)
    return np.stack([unit_vector(states(ids), pooling="mean", dim=H) for ids in tokens])
