"""The files packed into the Bento: verified against their digests, then read into memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file

from models.factors import Factors

Indices = npt.NDArray[np.int32]
ROOT = Path(__file__).resolve().parents[1]  # of the Bento's sources
FOLDER = "packed"


def verify(root: Path = ROOT) -> dict[str, Any]:
    """`release.json`, after every file it names was found unchanged; raises ValueError naming the first that is not."""
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
    return release


def sha256(path: Path) -> str:
    """Hex digest of a file, or `missing`."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_factors(root: Path = ROOT) -> Factors:
    with safe_open(root / FOLDER / "model.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["longtail"])
        return Factors.from_tensors({key: file.get_tensor(key) for key in file.keys()}, header["model"])  # noqa: SIM118


@dataclass(frozen=True)
class Items:
    """What people see of an item, by item_idx."""

    item_id: list[str]
    title: list[str]
    segment: list[str]  # head, tail or cold
    popularity: Indices  # distinct training users
    index: dict[str, int]  # item_id -> item_idx

    @classmethod
    def read(cls, root: Path = ROOT) -> Items:
        columns = json.loads((root / FOLDER / "items.json").read_text("utf-8"))
        index = {item_id: i for i, item_id in enumerate(columns["item_id"])}
        popularity = np.asarray(columns.pop("popularity"), np.int32)
        return cls(**columns, popularity=popularity, index=index)


@dataclass(frozen=True)
class Histories:
    """All that known users have touched: row r of the CSR matrix holds item_idx[offsets[r]:offsets[r + 1]]."""

    row: dict[str, int]  # user_id -> r
    offsets: npt.NDArray[np.int64]
    item_idx: Indices

    @classmethod
    def read(cls, root: Path = ROOT) -> Histories:
        ids = json.loads((root / FOLDER / "users.json").read_text("utf-8"))
        arrays = load_file(root / FOLDER / "users.safetensors")
        return cls({user_id: r for r, user_id in enumerate(ids)}, arrays["offsets"], arrays["item_idx"])

    def get(self, user_id: str) -> Indices | None:
        """Item indices of a user's history, None for an unknown user."""
        row = self.row.get(user_id)
        return None if row is None else self.item_idx[self.offsets[row] : self.offsets[row + 1]]
