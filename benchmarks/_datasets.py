"""Real data sets, each with a holdout: per user 80 % of the pairs are train, 10 % valid and 10 % test.

A folder is read in one of two formats. MovieLens: `ratings.csv` and `movies.csv` (and `tags.csv`), ratings of at least
4 are positives. Histories: one `*_history.dat` and one `*_info.dat`, tab-separated with a header, user and item in the
first two columns of the former, item and name in those of the latter; every pair is a positive.
"""

from __future__ import annotations

import csv
import html
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation.holdout import head_items
from models.evaluation.measure import Catalogue
from pipelines.artifacts import checkpoint
from pipelines.embed import vectors as item_vectors
from pipelines.embed.texts import Texts
from pipelines.settings.document import load
from pipelines.settings.embed import Embed

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("ml-latest-small", "anime")
MIN_RATING = 4.0
HEAD = 0.8
SHARE = 0.1  # of a user's pairs, for valid and for test each
TEXT_COLUMNS = ("genre", "genres", "type")  # of an info file, in addition to the name
Floats = npt.NDArray[np.float32]
Matrix = csr_array[Any]


@dataclass(frozen=True)
class Dataset:
    """Pairs as ones in sparse matrices (n_users, n_items), and the items' ids and texts."""

    name: str
    train: Matrix
    valid: Matrix
    test: Matrix
    texts: list[str]  # (n_items)
    catalogue: Catalogue

    def seen(self, part: str) -> Matrix:
        """Return the pairs that are excluded from lists on a part; histories are of train alone in both cases."""
        return self.train if part == "valid" else csr_array(self.train + self.valid)


def folder() -> Path:
    """Return the folder of the data sets: $LONGTAIL_DATA, or ../shared/data beside the repository."""
    found = Path(os.environ.get("LONGTAIL_DATA", ROOT.parent / "shared" / "data"))
    if not found.is_dir():
        raise FileNotFoundError(
            f"{found} is not a folder: the data sets are not part of the project; set LONGTAIL_DATA to a folder "
            f"with {' and '.join(NAMES)}, or set folders with --data"
        )
    return found


def read(name: str | Path, *, seed: int = 42) -> Dataset:
    """Read a data set by its name in `folder()`, or by the path of its own folder."""
    path = Path(name) if Path(name).is_dir() else folder() / name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a folder; expected one of {', '.join(NAMES)}, or the path of a folder")
    pairs, texts = movielens(path) if (path / "ratings.csv").is_file() else histories(path)
    return split(path.name, pairs, texts, seed=seed)


def movielens(path: Path) -> tuple[set[tuple[str, str]], dict[str, str]]:
    """Read the positive (user, item) pairs of a GroupLens folder, and a text per item: title, genres and tags."""
    tags: dict[str, dict[str, None]] = {}
    for row in records(path / "tags.csv") if (path / "tags.csv").is_file() else ():
        tags.setdefault(row["movieId"], {})[row["tag"].lower()] = None
    texts = {
        row["movieId"]: f"{row['title']}. {row['genres'].replace('|', ', ')}. {', '.join(tags.get(row['movieId'], {}))}"
        for row in records(path / "movies.csv")
    }
    ratings = records(path / "ratings.csv")
    return {(row["userId"], row["movieId"]) for row in ratings if float(row["rating"]) >= MIN_RATING}, texts


def histories(path: Path) -> tuple[set[tuple[str, str]], dict[str, str]]:
    """Read all (user, item) pairs of a history file, and a text per item: its name, and genre and type if present."""
    files = [sorted(path.glob(f"*_{kind}.dat")) for kind in ("history", "info")]
    if not all(len(found) == 1 for found in files):
        raise FileNotFoundError(
            f"{path} has no data set: expected ratings.csv and movies.csv, or one *_history.dat and one *_info.dat"
        )
    texts = {}
    for row in records(files[1][0], delimiter="\t", quoting=csv.QUOTE_NONE):
        item, name = list(row.values())[:2]
        texts[item] = ". ".join([html.unescape(name), *(row[column] for column in TEXT_COLUMNS if row.get(column))])
    events = records(files[0][0], delimiter="\t", quoting=csv.QUOTE_NONE)
    return {(user, item) for user, item, *_ in (list(row.values()) for row in events)}, texts


def records(path: Path, **dialect: Any) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, **dialect)


def split(name: str, pairs: set[tuple[str, str]], texts: Mapping[str, str], *, seed: int) -> Dataset:
    """Draw every user's holdout; the catalogue has all items with a text or a pair, in the order of their ids."""
    users, items = sorted({user for user, _ in pairs}), sorted(set(texts) | {item for _, item in pairs})
    user_row, item_row = ({key: row for row, key in enumerate(keys)} for keys in (users, items))
    u, i = np.array(sorted((user_row[user], item_row[item]) for user, item in pairs), np.int64).T
    lengths = np.bincount(u)
    order = np.lexsort((np.random.default_rng(seed).random(len(u)), u))
    rank = np.empty(len(u), np.int64)
    rank[order] = np.arange(len(u)) - np.repeat(lengths.cumsum() - lengths, lengths)
    held_out = np.rint(lengths * SHARE)[u]
    part = (rank >= held_out).astype(np.int64) + (rank >= 2 * held_out)  # 0 valid, 1 test, 2 train
    shape = (len(users), len(items))
    valid, test, train = (
        csr_array((np.ones((part == p).sum(), np.float32), (u[part == p], i[part == p])), shape=shape) for p in range(3)
    )
    popularity = np.bincount(train.indices, minlength=len(items))
    catalogue = Catalogue(popularity, ~head_items(popularity, HEAD), popularity == 0, len(users))
    return Dataset(name, train, valid, test, [texts.get(item, "") for item in items], catalogue)


def embeddings(texts: list[str]) -> Floats:
    """Return unit vectors (n, t) of texts, zero for an empty one, by the encoder of `params.yaml` and its cache."""
    params = load(Embed, ROOT / "params.yaml")
    encoder = checkpoint.find(params)
    vectors = np.zeros((len(texts), encoder.dim), np.float32)
    column = pa.chunked_array([pa.array(texts, pa.large_string())])
    item_vectors.fill(vectors, item_vectors.Part(Texts(column), 1.0, encoder), params)
    return vectors
