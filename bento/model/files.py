"""The files of the Bento: verified against their digests, then read into memory."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring as quoted  # a text in JSON; far faster than a call of `json.dumps`
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file

import bento
from models.inference.cells import Cells
from models.inference.factors import Factors
from models.inference.postings import Postings
from models.inference.strings import Positions, Strings

Indices = npt.NDArray[np.int32]
ROOT = Path(bento.__file__).resolve().parents[1]  # of the Bento's sources
FOLDER = "packed"
UNLISTED = {f"{FOLDER}/release.json", "bentofile.yaml"}  # which release.json cannot name; BentoML keeps the second
SEGMENTS = ("head", "tail", "cold")  # by their code
CARDS = 100_000  # items at most whose JSON is kept: about 20 MB
DECILES = 10


def verify(root: Path = ROOT) -> dict[str, Any]:
    """Return `release.json` after checking that the files it lists are unchanged, and that there are no others.

    Raises ValueError naming the first wrong file; an added module is one, since it could shadow another.
    """
    path = root / FOLDER / "release.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the service runs from a Bento; start it with `longtail serve`")
    release: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for name, expected in release["files"].items():
        actual = sha256(root / name)
        if actual != expected:
            raise ValueError(
                f"{name} of {release['tag']} was changed after the Bento was built: its sha256 is {actual}, expected "
                f"{expected}; refusing to serve it. Remove the Bento from the store and import its archive again"
            )
    if more := sorted(present(root) - release["files"].keys() - UNLISTED):
        raise ValueError(
            f"{more[0]} is not part of {release['tag']}: {len(more)} file(s) were added after the Bento was built; "
            "refusing to serve it. Remove them, or remove the Bento from the store and import its archive again"
        )
    return release


def present(root: Path) -> set[str]:
    """Return the paths of all files below a folder except Python's bytecode; links are not followed."""
    found = set[str]()
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if name not in links and name != "__pycache__"]
        found.update(Path(folder, name).relative_to(root).as_posix() for name in (*files, *links))
    return found


def sha256(path: Path) -> str:
    """Return the hex digest of a file, or `missing`."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_factors(root: Path = ROOT) -> Factors:
    arrays, metadata = read_arrays(root / FOLDER / "model.safetensors")
    return Factors.from_tensors(arrays, json.loads(metadata["longtail"])["model"])


def read_arrays(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the memory-mapped arrays of a file, and its metadata."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    # plain arrays: every slice of a memmap is a memmap again, and slow
    return {name: array.view(np.ndarray) for name, array in load_file(path).items()}, metadata


def read_cells(root: Path = ROOT) -> Cells | None:
    """Return the inverted lists of an approximate search; None if the Bento was built with exact search."""
    path = root / FOLDER / "cells.safetensors"
    if not path.is_file():
        return None
    arrays, metadata = read_arrays(path)
    return Cells(arrays["centres"], arrays["ends"], arrays["items"], share=float(metadata["share"]))


@dataclass(frozen=True)
class Items:
    """Item ids, titles and further public fields, by item_idx."""

    item_id: Strings
    title: Strings
    segment: list[str]  # head, tail or cold
    popularity: Indices  # distinct training users
    index: Positions  # item_id -> item_idx
    columns: dict[str, Postings]  # the columns to filter by

    @classmethod
    def read(cls, root: Path = ROOT) -> Items:
        arrays, metadata = read_arrays(root / FOLDER / "items.safetensors")
        names = json.loads(metadata["columns"])
        item_id = Strings.of(arrays, "item_id")
        return cls(
            item_id,
            Strings.of(arrays, "title"),
            [SEGMENTS[code] for code in arrays["segment"].tolist()],
            arrays["popularity"],
            Positions(item_id, arrays["order"]),
            {name: Postings.of(arrays, f"column.{number}") for number, name in enumerate(names)},
        )

    @cached_property
    def decile(self) -> npt.NDArray[np.int64]:
        """Return the popularity decile 1 (most popular) to 10 of every item (n,), ties by item_idx."""
        n = len(self.popularity)
        decile = np.empty(n, np.int64)
        decile[np.argsort(-self.popularity, kind="stable")] = np.arange(n) * DECILES // n + 1
        return decile

    def about(self, i: int) -> dict[str, Any]:
        about = {"item_id": self.item_id[i], "title": self.title[i], "segment": self.segment[i]}
        return {**about, "popularity": int(self.popularity[i])}

    @cached_property
    def card(self) -> Any:
        """Return a function (item_idx) -> bytes: the JSON of an item up to its score, which `%s}` completes."""
        return lru_cache(CARDS)(self.render)

    def render(self, i: int) -> bytes:
        item_id, title = quoted(self.item_id[i]), quoted(self.title[i])
        about = f'"segment": "{self.segment[i]}", "popularity": {self.popularity[i]}, "score": '
        return f'{{"item_id": {item_id}, "title": {title}, {about}'.encode()


@dataclass(frozen=True)
class Histories:
    """Training histories as a CSR matrix: the items of row r are item_idx[offsets[r]:offsets[r + 1]]."""

    user_id: Strings  # in order of their bytes
    row: Positions  # user_id -> r
    offsets: npt.NDArray[np.int64]
    item_idx: Indices

    @classmethod
    def read(cls, root: Path = ROOT) -> Histories:
        arrays, _ = read_arrays(root / FOLDER / "users.safetensors")
        ids = Strings.of(arrays, "user_id")
        return cls(ids, Positions(ids), arrays["offsets"], arrays["item_idx"])

    def get(self, user_id: str) -> Indices | None:
        """Return the item indices of a user's history, None for an unknown user."""
        row = self.row.get(user_id)
        return None if row is None else self.item_idx[self.offsets[row] : self.offsets[row + 1]]
