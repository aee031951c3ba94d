"""data/embed: embeddings.safetensors, one unit vector per item; no text is computed twice.

near_duplicates.csv lists items with texts of nearly the same meaning.

`torchrun --nproc-per-node=2 -m pipelines.embed` computes in several processes or on several GPUs, which exchange
vectors through the cache; on several machines `.longtail` has to be a shared folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from models.inference.encoder.projection import Projection
from models.inference.encoder.projection import fit as projection_of
from pipelines.artifacts import checkpoint, embeddings_file, outputs, tables
from pipelines.artifacts.embeddings_file import Vectors
from pipelines.embed import cache as embedding_cache
from pipelines.embed import near_duplicates
from pipelines.embed import vectors as item_vectors
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.embed import Embed, Reduce

if TYPE_CHECKING:
    pass


def main() -> None:
    params = load(Embed)
    encoder = checkpoint.find(params)
    if "RANK" in os.environ and not item_vectors.compute_share(encoder, params):
        return
    with outputs.stage("embed") as stage:
        path = stage.input("split", "items.parquet")
        items = tables.read(path, ["item_id", "text"])
        with room(stage, len(items), encoder, params) as vectors:
            item_vectors.mix(vectors, item_vectors.parts(path, encoder, params), params)
            if params.near_duplicates:
                pairs, summary = near_duplicates.find(vectors, items, cosine=params.near_duplicates)
                tables.write_csv(stage.output(near_duplicates.NAME), pairs)
                say("embed", summary)
            if params.reduce is not None:
                reduce(vectors, fitted(vectors, path, params.reduce), stage, encoder, params)
    removed, freed = embedding_cache.prune(embedding_cache.root(), int(params.cache_gigabytes * 1e9))
    if removed:
        say("embed", f"removed {removed} files ({freed / 1e9:.1f} GB) of the cache, by embed.cache_gigabytes")


@contextmanager
def room(stage: outputs.StageRun, n: int, encoder: checkpoint.Encoder, params: Embed) -> Iterator[Vectors]:
    """Yield zeros (n, t) for the encoder's vectors: the output itself, or a temporary file if they will be reduced."""
    if params.reduce is None:
        with output(stage, n, encoder, params, None) as vectors:
            yield vectors
    else:
        with TemporaryFile(dir=stage.folder) as file:
            os.posix_fallocate(file.fileno(), 0, n * encoder.dim * 4)  # a full disk kills writers of a map
            yield np.memmap(file, np.float32, "w+", shape=(n, encoder.dim))


def output(
    stage: outputs.StageRun, n: int, encoder: checkpoint.Encoder, params: Embed, projection: Projection | None
) -> AbstractContextManager[Vectors]:
    return embeddings_file.create(
        stage.output(embeddings_file.NAME), n, encoder.dim if projection is None else projection.components.shape[1],
        encoder=embeddings_file.identity(encoder.digest, projection), model=params.model, revision=encoder.revision,
    )  # fmt: skip


def fitted(vectors: Vectors, items: Path, how: Reduce) -> Projection:
    """Return the projection of vectors (n, t), fitted on those of the items in train."""
    trained = np.flatnonzero(tables.read(items, ["popularity"])["popularity"].to_numpy() > 0)
    return projection_of(vectors, trained, method=how.method, dim=how.dimensions)


def reduce(
    vectors: Vectors, projection: Projection, stage: outputs.StageRun, encoder: checkpoint.Encoder, params: Embed
) -> None:
    """Write the principal components of vectors (n, t), and their projection."""
    embeddings_file.write_projection(projection, stage.output(embeddings_file.PROJECTION))
    with output(stage, len(vectors), encoder, params, projection) as reduced:
        for start in range(0, len(vectors), item_vectors.CHUNK):
            reduced[start : start + item_vectors.CHUNK] = projection(vectors[start : start + item_vectors.CHUNK])
    say("embed", f"{reduced.shape[1]} components of {encoder.dim} explain {projection.kept:.1%} of the variance")
