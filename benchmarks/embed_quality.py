"""Effect of texts on ranking: metrics without text, with a static embedding, with titles alone and with all text.

`python -m benchmarks.embed_quality [--data NAME or folder ...] [--d D]`. ALS with the settings of `params.yaml`, a
tenth of the items withheld from training entirely; figures of test, as `benchmarks.mf_cold` defines them. `static` is
the mean of the encoder's token table over a text's tokens, centred: no transformer is run. `title` is the text before
the first full stop, `all` adds genres, and tags if present; `pca` and `whiten` keep a third of the dimensions of these
vectors, fitted on the items of train.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_array
from tokenizers import Tokenizer

from benchmarks._datasets import NAMES, ROOT, Dataset, Floats, embeddings, read
from benchmarks.mf_cold import COLUMNS, CPU, SEED, WITHHELD, figures, withhold
from models.inference.encoder import bert_weights
from models.inference.encoder.projection import Method, fit
from models.inference.encoder.tokens import tokenize
from models.inference.factors import Factors
from models.ranking import baselines
from models.ranking.fold_in import fold_in
from models.training.als import Als, Interactions
from models.training.anchor import TextAnchor
from models.training.settings import Als as Settings
from pipelines.artifacts import checkpoint
from pipelines.artifacts.outputs import read_json
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from pipelines.settings.train import Train

SHORT = 128  # dimensions of a reduced vector


def rows(names: Sequence[str] = NAMES, *, d: int = 128) -> Iterator[dict[str, Any]]:
    """Yield a row per data set and kind of text."""
    for name in names:
        data = withhold(read(name), WITHHELD)
        for kind, texts in kinds(data):
            factors = trained(data, texts, d)
            users = fold_in(factors, data.train, device=CPU)
            yield {"data": data.name, "text": kind} | figures(baselines.factors(factors, users, device=CPU), data)


def kinds(data: Dataset) -> Iterator[tuple[str, Floats | None]]:
    """Yield vectors of the items (n, t) by kind of text."""
    yield "none", None
    yield "static, all", static(data.texts)
    yield "title", embeddings([text.partition(". ")[0] for text in data.texts])
    whole = embeddings(data.texts)
    yield "all", whole
    trained_on = np.unique(csr_array(data.train).indices)
    for method in get_args(Method):
        yield f"all, {method} {SHORT}", fit(whole, trained_on, method=method, dim=SHORT)(whole)


def static(texts: Sequence[str]) -> Floats:
    """Return the means of the token table, centred over the items and normalized; zero for an empty text."""
    encoder = checkpoint.find(load(Embed, ROOT / "params.yaml"))
    config = read_json(encoder.folder / "config.json")
    table = bert_weights.arrange(load_file(encoder.folder / "model.safetensors"), config).words.numpy()
    tokens = tokenize(Tokenizer.from_file(str(encoder.folder / "tokenizer.json")), texts, max_length=encoder.max_length)
    means = np.stack([table[ids[1:-1]].mean(0) if ids else np.zeros(table.shape[1], np.float32) for ids in tokens])
    given = np.array([bool(ids) for ids in tokens])[:, None]
    centred = np.where(given, means - means[given[:, 0]].mean(0), 0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9), np.float32)


def trained(data: Dataset, texts: Floats | None, d: int) -> Factors:
    params = load(Train, ROOT / "params.yaml")
    pairs = csr_array(data.train).tocoo()
    order = np.lexsort((pairs.col, pairs.row))
    users, items = (side[order].astype(np.int32) for side in (pairs.row, pairs.col))
    interactions = Interactions(users, items, np.ones(len(users), np.float32), *data.train.shape)
    settings = Settings(**params.of("als") | {"embedding_dim": d, "seed": SEED})
    anchor = None
    if texts is not None:
        anchor = TextAnchor(torch.from_numpy(texts), strength=params.anchor, ridge=params.anchor_ridge)
    als = Als(interactions, anchor, settings, device=CPU)
    for _ in als.epochs():
        pass
    return als.factors()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=NAMES, help="names of data sets, or their folders")
    parser.add_argument("--d", type=int, default=128, help="length of factors")
    arguments = parser.parse_args()
    columns = ("data", "text", *COLUMNS)
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for row in rows(arguments.data, d=arguments.d):
        print("|", " | ".join(str(row.get(column, "")) for column in columns), "|", flush=True)


if __name__ == "__main__":
    main()
