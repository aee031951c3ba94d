"""data/embed: embeddings.safetensors, one unit vector per item; no text is ever computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.tokens import clean, tokenize
from pipelines import _artifacts as artifacts
from pipelines import _embedding_cache as caches
from pipelines import _embeddings
from pipelines import _encoder as encoders
from pipelines import _tables as tables
from pipelines._embedding_cache import EmbeddingCache, Rows
from pipelines._embeddings import Vectors
from pipelines._params import Embed, load
from pipelines._shards import Halves, Keys
from pipelines._stage import run, say
from pipelines._throughput import Throughput

Texts: TypeAlias = "pa.ChunkedArray[Any]"
SHARD = 4096  # texts between two writes of the cache: what an interrupted run loses at most
CHUNK = 1 << 16  # rows at once where nothing is computed


def main() -> None:
    params = load(Embed)
    with artifacts.stage("embed") as stage:
        texts = column(tables.read(stage.input("split", "items.parquet"), ["text"]).column(0))
        encoder = encoders.find(params)
        with _embeddings.create(
            stage.output(_embeddings.NAME), len(texts), encoder.dim,
            encoder=encoder.digest, model=params.model, revision=encoder.revision,
        ) as vectors:  # fmt: skip
            fill(vectors, texts, encoder, params)
    removed, freed = caches.prune(caches.root(), int(params.cache_gigabytes * 1e9))
    if removed:
        say("embed", f"removed {removed} files ({freed / 1e9:.1f} GB) of the cache, as embed.cache_gigabytes says")


def column(values: Texts) -> Texts:
    """Texts without nulls; whatever else a column holds is made a text."""
    if pa.types.is_string(values.type):
        empty = pa.scalar("", pa.large_string())
        return cast(Texts, pc.fill_null(values.cast(pa.large_string()), empty))  # large: no bound at 2 GB
    return pa.chunked_array([pa.array([clean(value) for value in values.to_pylist()], pa.large_string())])


def fill(vectors: Vectors, texts: Texts, encoder: encoders.Encoder, params: Embed) -> None:
    """Write every text's vector (n, t): once computed or found, then copied to the texts that are equal."""
    keys = keys_of(texts)
    first = first_of_equals(keys)
    blank = characters(pc.utf8_trim_whitespace(texts)) == 0
    distinct = np.flatnonzero((first == np.arange(len(first))) & ~blank)  # an item without text keeps the zero vector
    distinct = distinct[np.argsort(keys[distinct, 0])]
    cache = open_cache(encoder, params)
    new = distinct[~recall(vectors, keys, distinct, cache)]
    say(
        "embed",
        f"{len(texts):,} texts, {np.count_nonzero(blank):,} of them empty; {len(distinct):,} distinct, "
        f"{len(new):,} to compute with {params.model} ({encoder.dim} dimensions)",
    )
    cache.touch()
    if len(new):
        compute(vectors, keys, texts, new, encoder, params)
    repeated = np.flatnonzero((first != np.arange(len(first))) & ~blank)
    for start in range(0, len(repeated), CHUNK):
        rows = repeated[start : start + CHUNK]
        vectors[rows] = vectors[first[rows]]


def characters(texts: Texts) -> npt.NDArray[np.int64]:
    """Length of each text, (n,)."""
    return cast("npt.NDArray[np.int64]", np.asarray(pc.utf8_length(texts).to_numpy(), np.int64))


def keys_of(texts: Texts) -> Keys:
    """Keys of all texts, (n, 2)."""
    chunks = (texts.slice(start, CHUNK).to_pylist() for start in range(0, len(texts), CHUNK))
    return np.concatenate([np.zeros((0, 2), np.uint64), *(caches.keys_of(map(str, chunk)) for chunk in chunks)])


def first_of_equals(keys: Keys) -> Rows:
    """For each row the first one with the same key, (n,)."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first row leads its equals
    ordered = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(keys), np.intp)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def open_cache(encoder: encoders.Encoder, params: Embed) -> EmbeddingCache:
    """The encoder's vectors of the precision asked for; of every one where none is."""
    asked = ["bf16", "fp32"] if params.precision == "auto" else [params.precision]
    folder = caches.root() / encoder.digest
    cache = EmbeddingCache([folder / precision for precision in asked], encoder.dim)
    for path in cache.damaged:
        say("embed", f"{path} was damaged: its texts are computed again")
        path.unlink(missing_ok=True)
    return cache


def recall(vectors: Vectors, keys: Keys, rows: Rows, cache: EmbeddingCache) -> npt.NDArray[np.bool_]:
    """Write the vectors that the cache has; which of the rows it had, (b,)."""
    at = cache.find(keys[rows])
    known = at >= 0
    damaged: list[Rows] = []
    for start in range(0, len(rows), CHUNK):
        here = start + np.flatnonzero(known[start : start + CHUNK])
        halves, intact = cache.read(at[here])
        vectors[rows[here[intact]]] = unit(halves[intact])
        known[here] = intact
        damaged.append(at[here[~intact]])
    if n_damaged := sum(map(len, damaged)):
        paths = cache.owners(np.concatenate(damaged))
        say("embed", f"{n_damaged:,} texts are computed again: {', '.join(map(str, paths))} was damaged")
        caches.drop_damaged(paths, cache.dim)
    return known


def unit(halves: Halves) -> Vectors:
    """Vectors (b, t) at full length again; rounding to 16 bits has changed it by about 1e-4. Zero stays zero."""
    vectors = halves.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def compute(vectors: Vectors, keys: Keys, texts: Texts, new: Rows, encoder: encoders.Encoder, params: Embed) -> None:
    """Write the vectors of the rows `new`, storing a shard of the cache every few thousand; longest texts first."""
    import torch  # only where there is something to compute

    from models.device import choose
    from models.precision import choose as choose_precision
    from models.text_encoder import encode

    device = choose(params.device)
    dtype = choose_precision(params.precision, device)
    precision = "bf16" if dtype is torch.bfloat16 else "fp32"
    states, tokenizer = encoders.load(encoder, device=device, dtype=dtype)
    folder = caches.root() / encoder.digest / precision
    lengths = characters(texts)
    new = new[np.argsort(-lengths[new], kind="stable")]
    meter = Throughput("embed", texts=len(new), characters=int(lengths[new].sum()))
    cut = 0
    for rows, tokens in tokenized(texts, new, encoder, tokenizer):
        matrix = np.empty((len(rows), encoder.dim), np.float32)
        for batch, values in encode(
            states, tokens, pooling=encoder.pooling, batch_tokens=params.batch_tokens, dim=encoder.dim
        ):
            matrix[batch] = values
            meter.add(len(batch), int(lengths[rows[batch]].sum()))
        halves = matrix.astype(np.float16)
        caches.add(folder, keys[rows], halves)
        vectors[rows] = unit(halves)
        cut += sum(len(ids) >= encoder.max_length for ids in tokens)
    meter.close()
    caches.merge(folder, encoder.dim)
    say("embed", f"{len(new):,} texts in {meter.seconds():.1f} s ({meter.rate():,.0f} texts/s) in {precision}")
    if cut:
        say("embed", f"{cut:,} texts fill {encoder.max_length} tokens: what is beyond is not read (embed.max_length)")


def tokenized(
    texts: Texts, new: Rows, encoder: encoders.Encoder, tokenizer: object
) -> Iterator[tuple[Rows, list[list[int]]]]:
    """Rows of a shard and their token ids; while one shard is computed the next is tokenized."""

    def tokens(rows: Rows) -> list[list[int]]:
        values = texts.take(rows).to_pylist()
        return tokenize(tokenizer, [f"{encoder.prompt}{value}" for value in values], max_length=encoder.max_length)

    shards = [new[start : start + SHARD] for start in range(0, len(new), SHARD)]
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(tokens, shards[0])
        for number, rows in enumerate(shards):
            ready = pending.result()
            if number + 1 < len(shards):
                pending = ahead.submit(tokens, shards[number + 1])
            yield rows, ready


if __name__ == "__main__":
    run(main, "embed")
