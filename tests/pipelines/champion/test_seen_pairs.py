"""Pairs of a holdout that a release was trained on, counted in its own tables in DVC."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from pipelines.artifacts import outputs, tables
from pipelines.champion import stage as champion
from pipelines.evaluate import contenders
from tests import made
from tests.pipelines import releases
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real

Pairs = Sequence[tuple[str, str]]  # (user_id, item_id)
USERS, ITEMS = [f"u{n}" for n in range(6)], [f"i{n}" for n in range(releases.N_ITEMS)]
TRAIN, VALID, TEST = [("u0", "i0"), ("u1", "i1"), ("u2", "i2")], [("u3", "i3")], [("u4", "i4"), ("u5", "i5")]


def write_split(train: Pairs, valid: Pairs, test: Pairs, users: list[str], items: list[str], **changes: Any) -> None:
    """data/split with these pairs; by hash with a seed of its own unless `changes` say otherwise."""
    with made.stage("ingest") as stage:
        for name in ("interactions", "items", "users"):
            tables.write(pa.table({"item_id": items}), stage.output(f"{name}.parquet"))
    with made.stage("split") as stage:
        is_tail = [n >= releases.HEAD for n in range(len(items))]
        of_items = {"item_idx": range(len(items)), "item_id": items, "is_tail": is_tail}
        tables.write(pa.table(of_items), stage.output("items.parquet"))
        tables.write(pa.table({"user_id": users}), stage.output("users.parquet"))
        for part, pairs in (("train", train), ("valid", valid), ("test", test)):
            columns = {
                "user_idx": pa.array([users.index(user) for user, _ in pairs], pa.int32()),
                "item_idx": pa.array([items.index(item) for _, item in pairs], pa.int32()),
            }
            tables.write(pa.table(columns), stage.output(f"{part}.parquet"))
        hashes = {"tail_sha256": "a" * 64, "holdout_sha256": "b" * 64}
        described = hashes | releases.SPLIT | releases.SIZES | releases.SOURCE | changes
        outputs.write_json(stage.output("holdout.json"), described)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout whose v1.0.0 was trained on TRAIN and chosen on VALID."""
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
    root = tmp_path / "checkout"
    root.mkdir()
    monkeypatch.chdir(root)
    checkout = Checkout.create(root)
    monkeypatch.setattr(releases, "write_ingest_and_split", lambda: write_split(TRAIN, VALID, TEST, USERS, ITEMS))
    checkout.candidate(1)
    checkout.promote()
    return checkout


def seen_of(test: Pairs, *, users: list[str] = USERS, items: list[str] = ITEMS, **changes: Any) -> str | None:
    """Return why v1.0.0 cannot be compared with on this holdout; None if it can."""
    write_split([(users[0], items[0])], [], test, users, items, **changes)
    with made.stage("train") as stage:
        save_file({"item_factors": np.full((2, 2), 2, np.float32)}, stage.output("model.safetensors"))
    champion.main()
    identity = outputs.read_json(Path("data/champion/champion.json"))
    assert identity["version"] == "v1.0.0"
    description = outputs.read_json(Path("data/split/holdout.json"))
    return contenders.left_out(identity, description)[0].get("champion")


def test_pairs_of_train_and_of_valid_are_counted_whatever_order_the_tables_have(released: Checkout) -> None:
    why = seen_of([("u1", "i1"), ("u3", "i3"), ("u4", "i4")], users=USERS[::-1], items=ITEMS[::-1], seed=7)
    assert why is not None
    assert why.startswith("v1.0.0 has seen 2 of 3 pairs of this holdout: its pairs were drawn with seed 42")


def test_another_seed_alone_is_no_reason_where_no_pair_was_seen(released: Checkout) -> None:
    assert seen_of(TEST, seed=7) is None


def test_tables_that_share_no_user_or_no_item_share_no_pair(released: Checkout) -> None:
    others = [f"customer {n}" for n in range(6)]
    assert seen_of([(others[1], "i1")], users=others, seed=7) is None
    books = [f"book {n}" for n in range(releases.N_ITEMS)]
    assert seen_of([("u1", books[1])], items=books, seed=7) is None
    assert seen_of([("u1", books[1])], items=books, user_space="1a2b3c4d") is None


def test_what_cannot_be_counted_stays_a_reason(released: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    assert seen_of(TEST, user_space="1a2b3c4d") is not None
    assert "cannot be counted: its users have other pseudonyms" in capsys.readouterr().out
    keep = {path: path.read_bytes() for path in Path(".longtail/releases").rglob("*") if path.is_file()}
    assert keep  # the model and items of the release, without which there is no comparison at all
    shutil.rmtree(".dvc/cache")
    why = seen_of(TEST, seed=7)
    assert why is not None
    assert why.startswith("v1.0.0 has seen pairs of this holdout: its pairs were drawn with seed 42")
    assert "is neither in the DVC cache nor in a remote" in capsys.readouterr().out
