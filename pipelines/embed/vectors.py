"""Vectors of the items' texts and images: read from the cache or computed, and combined to one vector per item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from models.inference.encoder.tokens import tokenize
from pipelines.artifacts import checkpoint, outputs, tables
from pipelines.artifacts.embeddings_file import Vectors
from pipelines.embed import cache as embedding_cache
from pipelines.embed import images
from pipelines.embed.cache import EmbeddingCache, Rows
from pipelines.embed.shards import Halves
from pipelines.embed.texts import Texts
from pipelines.embed.throughput import Throughput
from pipelines.runtime.console import say
from pipelines.settings.embed import Embed

if TYPE_CHECKING:
    import torch

SHARD = 4096  # texts between two writes of the cache: the most that an interrupted run loses


CHUNK = 1 << 16  # rows per step if nothing is computed


def compute_share(encoder: checkpoint.Encoder, params: Embed) -> bool:
    """Write this process's share of the new texts to the cache, under torchrun, and wait for the others.

    Return whether this is the process that writes the results of all.
    """
    import torch

    from models.compute.device import choose
    from pipelines.runtime import ranks as runtime_ranks

    with runtime_ranks.joined(choose(params.device)) as (ranks, device):
        path = outputs.DATA / "split" / "items.parquet"
        outputs.verify(path)
        for part in parts(path, encoder, params):
            distinct = part.texts.distinct()
            ours = distinct[part.texts.keys[distinct, 0] % np.uint64(ranks.size) == ranks.rank]
            new = ours[open_cache(part.encoder, params).find(part.texts.keys[ours]) < 0]
            for _ in computed(part, new, params, device):
                pass
        ranks.sum(torch.zeros(1, device=device))  # barrier: wait for all ranks
        return ranks.rank == 0


@dataclass(frozen=True)
class Part:
    """Column of the items: its texts, or the digests of its images, each with a file of that content."""

    texts: Texts
    weight: float  # of the column in the sum
    encoder: checkpoint.Encoder
    images: dict[str, Path] | None = None


def parts(path: Path, encoder: checkpoint.Encoder, params: Embed) -> Iterator[Part]:
    """Return the columns to embed. Raises ValueError if a column does not exist."""
    known = pq.read_schema(path).names
    if apart := params.images.keys() - params.columns.keys():
        raise ValueError(f"embed.images has {', '.join(sorted(apart))}, missing from embed.columns; add a weight there")
    for name, weight in params.columns.items():
        if name not in known:
            raise ValueError(f"embed.columns has {name!r}, expected some of the items' columns {', '.join(known)}")
        column = tables.read(path, [name]).column(0)
        if name in params.images:
            digests, files = images.contents(column, Path(params.images[name]), name)
            yield Part(Texts(digests), weight, checkpoint.of_images(encoder), files)
        else:
            yield Part(Texts(column), weight, encoder)


def mix(vectors: Vectors, parts: Iterable[Part], params: Embed) -> None:
    """Write every item's vector into `vectors`, zeros (n, t): the weighted sum over its columns, at length one.

    An empty column of an item does not count; an item with only empty columns keeps the zero vector.
    """
    first, *others = parts
    fill(vectors, first, params)
    if not others:
        return
    vectors *= np.float32(first.weight)
    for other in others:
        with TemporaryFile() as file:  # on disk, since it is as large as the result
            one = np.memmap(file, np.float32, "w+", shape=vectors.shape)
            fill(one, other, params)
            for start in range(0, len(vectors), CHUNK):
                vectors[start : start + CHUNK] += np.float32(other.weight) * one[start : start + CHUNK]
    for start in range(0, len(vectors), CHUNK):
        vectors[start : start + CHUNK] = unit(vectors[start : start + CHUNK])


def fill(vectors: Vectors, part: Part, params: Embed) -> None:
    """Write every text's vector into `vectors`, zeros (n, t): from the cache or computed, and copied to equal texts.

    An item without text keeps the zero vector.
    """
    texts, cache = part.texts, open_cache(part.encoder, params)
    distinct = texts.distinct()
    new = distinct[~recall(vectors, texts, distinct, cache)]
    say(
        "embed",
        f"{len(texts):,} {'texts' if part.images is None else 'images'}, {np.count_nonzero(texts.empty):,} of them "
        f"empty; {len(distinct):,} distinct, {len(new):,} to compute with {params.model} ({cache.dim} dimensions)",
    )
    cache.touch()
    if len(new):
        from models.compute.device import choose  # imports torch, so only if there is something to compute

        for rows, halves in computed(part, new, params, choose(params.device)):
            vectors[rows] = unit(halves)
    repeated = texts.repeated()
    for start in range(0, len(repeated), CHUNK):
        rows = repeated[start : start + CHUNK]
        vectors[rows] = vectors[texts.first[rows]]


def open_cache(encoder: checkpoint.Encoder, params: Embed) -> EmbeddingCache:
    """Open the encoder's vectors of the given precision, or of every precision if none is given."""
    asked = ["bf16", "fp32"] if params.precision == "auto" else [params.precision]
    folder = embedding_cache.root() / encoder.digest
    cache = EmbeddingCache([folder / precision for precision in asked], encoder.dim)
    for path in cache.damaged:
        say("embed", f"{path} was damaged: its texts are computed again")
        path.unlink(missing_ok=True)
    return cache


def recall(vectors: Vectors, texts: Texts, rows: Rows, cache: EmbeddingCache) -> npt.NDArray[np.bool_]:
    """Write the cached vectors; return a mask of the rows in the cache, (b,)."""
    at = cache.find(texts.keys[rows])
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
        say("embed", f"{n_damaged:,} texts are computed again, because of damage in {', '.join(map(str, paths))}")
        embedding_cache.drop_damaged(paths, cache.dim)
    return known


def unit(halves: Halves | Vectors) -> Vectors:
    """Normalise vectors (b, t) to length one; rounding to 16 bits changed it by about 1e-4. Zero stays zero."""
    vectors = halves.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def computed(part: Part, new: Rows, params: Embed, device: torch.device) -> Iterator[tuple[Rows, Halves]]:
    """Yield (rows, vectors) of the rows `new`, each when it is stored in the cache."""
    import torch

    from models.compute.precision import choose

    dtype = choose(params.precision, device)
    folder = embedding_cache.root() / part.encoder.digest / ("bf16" if dtype is torch.bfloat16 else "fp32")
    if part.images is None:
        yield from of_texts(part.texts, new, part.encoder, params, device, dtype, folder)
    else:
        paths = [part.images[digest] for digest in part.texts.take(new)]
        for rows, vectors in images.vectors(new, paths, part.encoder, device=device, dtype=dtype):
            halves = vectors.astype(np.float16)
            embedding_cache.add(folder, part.texts.keys[rows], halves)
            yield rows, halves
    embedding_cache.merge(folder, part.encoder.dim)


def of_texts(
    texts: Texts, new: Rows, encoder: checkpoint.Encoder, params: Embed, device: torch.device, dtype: torch.dtype,
    folder: Path,
) -> Iterator[tuple[Rows, Halves]]:  # fmt: skip
    """Compute and store vectors of texts, longest first."""
    from models.encoders.text_encoder import encode

    states, tokenizer = checkpoint.load(encoder, device=device, dtype=dtype)
    new = new[np.argsort(-texts.characters[new], kind="stable")]
    meter = Throughput("embed", texts=len(new), characters=int(texts.characters[new].sum()))
    cut = 0
    for rows, tokens in tokenized(texts, new, encoder, tokenizer):
        vectors = np.empty((len(rows), encoder.dim), np.float32)
        for batch, values in encode(
            states, tokens, pooling=encoder.pooling, batch_tokens=params.batch_tokens, dim=encoder.dim
        ):
            vectors[batch] = values
            meter.add(len(batch), int(texts.characters[rows[batch]].sum()))
        halves = vectors.astype(np.float16)
        embedding_cache.add(folder, texts.keys[rows], halves)
        cut += sum(len(ids) >= encoder.max_length for ids in tokens)
        yield rows, halves
    meter.close()
    say("embed", f"{len(new):,} texts in {meter.seconds():.1f} s ({meter.rate():,.0f} texts/s) in {folder.name}")
    if cut:
        say("embed", f"{cut:,} texts reach {encoder.max_length} tokens (embed.max_length): longer ones are truncated")


def tokenized(
    texts: Texts, new: Rows, encoder: checkpoint.Encoder, tokenizer: object
) -> Iterator[tuple[Rows, list[list[int]]]]:
    """Yield the rows of a shard and their token ids; the next shard is tokenized while one is computed."""

    def tokens(rows: Rows) -> list[list[int]]:
        return tokenize(tokenizer, [encoder.prompt + text for text in texts.take(rows)], max_length=encoder.max_length)

    shards = [new[start : start + SHARD] for start in range(0, len(new), SHARD)]
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(tokens, shards[0]) if shards else None
        for number, rows in enumerate(shards):
            ready = pending.result() if pending else []
            pending = ahead.submit(tokens, shards[number + 1]) if number + 1 < len(shards) else None
            yield rows, ready
