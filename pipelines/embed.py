"""data/embed: embeddings.safetensors, one unit vector per item; no text is ever computed twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines import _artifacts as artifacts
from pipelines import _embeddings
from pipelines import _encoder as encoders
from pipelines import _tables as tables
from pipelines._embedding_cache import EmbeddingCache
from pipelines._embeddings import Vectors
from pipelines._params import Embed, load
from pipelines._stage import progress, run, say

SHARD = 4096  # texts between two writes of the cache: what an interrupted run loses at most


def main() -> None:
    params = load(Embed)
    with artifacts.stage("embed") as stage:
        items = tables.read(stage.input("split", "items.parquet"), ["text"])
        texts = [str(text) for text in items["text"].to_pylist()]
        encoder = encoders.find(params)
        known = embed({text for text in texts if text.strip()}, encoder, params)
        embeddings = np.zeros((len(texts), encoder.dim), np.float32)
        for row, text in enumerate(texts):
            if text.strip():  # an item without text keeps the zero vector
                embeddings[row] = known[encoders.key(text)]
        _embeddings.write(embeddings, stage.output(_embeddings.NAME), encoder=encoder.digest, model=params.model)


def embed(texts: set[str], encoder: encoders.Encoder, params: Embed) -> dict[bytes, Vectors]:
    """Vectors of the texts by key: from the cache, or computed and put there."""
    cache = EmbeddingCache(encoder.digest)
    known = cache.load()
    for path in cache.dropped:
        say("embed", f"{path} was damaged: its texts are computed again")
    new = sorted(text for text in texts if encoders.key(text) not in known)
    with_model = f"with {params.model} ({encoder.dim} dimensions)"
    say("embed", f"{len(texts):,} distinct texts, {len(new):,} to compute {with_model}")
    if new:
        known.update(compute(new, encoder, params, cache))
    return known


def compute(
    texts: list[str], encoder: encoders.Encoder, params: Embed, cache: EmbeddingCache
) -> Iterator[tuple[bytes, Vectors]]:
    """Yield (key, vector) of each text, storing a shard of the cache every few thousand."""
    from models.device import choose  # torch and transformers only where there is something to compute
    from models.text_encoder import encode

    model, tokenizer = encoders.load(encoder, choose(params.device))
    shards = [texts[start : start + SHARD] for start in range(0, len(texts), SHARD)]

    def vectors() -> Iterator[tuple[bytes, Vectors]]:
        for shard in shards:
            keys, matrix = [encoders.key(text) for text in shard], np.empty((len(shard), encoder.dim), np.float32)
            for rows, batch in encode(
                model, tokenizer, shard,
                pooling=encoder.pooling, max_length=encoder.max_length, batch_tokens=params.batch_tokens,
            ):  # fmt: skip
                matrix[rows] = batch
                for row in rows:
                    yield keys[row], matrix[row]
            cache.add(keys, matrix)

    yield from progress("embed", vectors(), total=len(texts), unit="texts")


if __name__ == "__main__":
    run(main, "embed")
