"""Writes `bento.json`, and `longtail.bento` for a model whose verdict is PROMOTE: built, exported and smoke-tested."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import save_file

from pipelines import _artifacts as artifacts
from pipelines import _bento, _model, _smoke, _tables
from pipelines._params import Champion, Package, load
from pipelines._stage import run, say

CHECKOUT = Path(__file__).resolve().parents[1]
CODE = (
    "bento/**/*",
    *("models/__init__.py", "models/candidates.py", "models/cold_level.py", "models/factors.py", "models/packing.py"),
    *("models/reranking.py", "models/text_neighbours.py", "models/user_side.py"),
)
PACKED = "packed"  # folder of the Bento that holds model, items, users and verdict; bento/packed.py reads it


def main() -> None:
    name, params = load(Champion).name, load(Package)
    with artifacts.stage("package") as stage:
        judged = stage.input("gate", "verdict.json")
        verdict = artifacts.read_json(judged)
        reason = f"the verdict is {verdict['verdict']}: {verdict['reason']}"
        if verdict["verdict"] != "PROMOTE":
            artifacts.write_json(stage.output("bento.json"), {"built": False, "reason": reason})
            say("package", f"no Bento, because the verdict is {verdict['verdict']}")
            return
        model = stage.input("train", "model.safetensors")
        refuse_other_model(stage.inputs[model.as_posix()], verdict)
        holdout = artifacts.read_json(stage.input("split", "holdout.json"))
        items = _tables.read(stage.input("split", "items.parquet"))
        interactions = _tables.read(stage.input("ingest", "interactions.parquet"), ["user_id", "item_id"])
        users = histories(interactions, items)

        archive = stage.output("longtail.bento")
        with TemporaryDirectory(prefix="longtail-package-") as temp:
            context = Path(temp) / "context"
            copy_code(context)
            pack(context / PACKED, [model, judged], items, users)
            files = digests(context)
            tag = f"{name}:{version(files)}"
            artifacts.write_json(context / PACKED / "release.json", release(tag, verdict, files, holdout["head_share"]))
            files = digests(context)
            say("package", f"building {tag}")
            labels = {"verdict": verdict["verdict"], "model": verdict["digests"]["model"][:12]}
            _bento.build(context, archive, tag=tag, labels=labels, home=Path(temp) / "build")
            say("package", "asking the exported Bento over HTTP")
            probe = _smoke.Probe(
                _model.read(model)[0], list(map(str, items["item_id"].to_pylist())), users.user_id[0], users.history(0)
            )
            smoke = _smoke.test(archive, tag, probe, home=Path(temp) / "smoke", timeout=params.ready_timeout)
        report = {
            "built": True,
            "reason": reason,
            "tag": tag,
            "verdict_sha256": stage.inputs[judged.as_posix()],
            "digests": verdict["digests"],
            "files": {f"src/{path}": digest for path, digest in files.items()},
            "smoke": smoke,
        }
        artifacts.write_json(stage.output("bento.json"), report)
    say("package", f"{tag} answers as the judged model does")


def refuse_other_model(actual: str, verdict: dict[str, Any]) -> None:
    judged = verdict["digests"]["model"]
    if actual != judged:
        raise ValueError(
            f"data/train/model.safetensors is not the model that was judged: its sha256 is {actual}, "
            f"the verdict speaks of {judged}; run `dvc repro package`"
        )


def copy_code(context: Path) -> None:
    """The serving code, at its paths in the checkout, and `bentofile.yaml` at the root, where BentoML looks for it."""
    found = {path for pattern in CODE for path in CHECKOUT.glob(pattern) if path.is_file()}
    for path in sorted(path for path in found if "__pycache__" not in path.parts):
        target = context / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (context / "bento" / "bentofile.yaml").rename(context / "bentofile.yaml")


def pack(folder: Path, unchanged: list[Path], items: pa.Table, users: Users) -> None:
    """Write the files that bento/packed.py reads; `unchanged` ones keep the bytes that were judged."""
    folder.mkdir()
    for path in unchanged:
        shutil.copy(path, folder)
    artifacts.write_json(folder / "items.json", item_columns(items))
    artifacts.write_json(folder / "users.json", users.user_id)
    save_file({"offsets": users.offsets, "item_idx": users.item_idx}, folder / "users.safetensors")


def item_columns(items: pa.Table) -> dict[str, list[Any]]:
    """What serving shows of items, by item_idx; a cold item is a tail item without any training user."""
    segment = pc.if_else(items["is_cold"], "cold", pc.if_else(items["is_tail"], "tail", "head"))
    columns = {name: items[name].to_pylist() for name in ("item_id", "title", "popularity")}
    return {**columns, "segment": segment.to_pylist()}


@dataclass(frozen=True)
class Users:
    """Users in order of user_id, and all that each has touched, as a CSR matrix."""

    user_id: list[str]
    offsets: npt.NDArray[np.int64]  # (n_users + 1,)
    item_idx: npt.NDArray[np.int32]  # (n_pairs,)

    def history(self, row: int) -> npt.NDArray[np.int32]:
        return self.item_idx[self.offsets[row] : self.offsets[row + 1]]


def histories(interactions: pa.Table, items: pa.Table) -> Users:
    """Full histories, those of valid and test included: what a user has seen, whenever it was."""
    item_idx = pc.index_in(interactions["item_id"], value_set=items["item_id"])
    if item_idx.null_count:
        raise ValueError(f"data/split lacks the items of {item_idx.null_count} interactions; run `dvc repro split`")
    user_id = pc.unique(interactions["user_id"]).sort()
    user_idx = pc.index_in(interactions["user_id"], value_set=user_id).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user_idx, minlength=len(user_id)))])
    by_user = item_idx.to_numpy()[np.argsort(user_idx, kind="stable")]
    return Users([str(value) for value in user_id.to_pylist()], offsets.astype(np.int64), by_user.astype(np.int32))


def digests(context: Path) -> dict[str, str]:
    """sha256 of every file that goes into the Bento, by its path there."""
    folders = [context / "bento", context / "models", context / PACKED]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(context).as_posix(): artifacts.sha256(path) for path in paths}


def version(files: dict[str, str]) -> str:
    """Version that equal files share: the first 12 hex digits of the digest of their digests."""
    lines = "\n".join(f"{path} {digest}" for path, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def release(tag: str, verdict: dict[str, Any], files: dict[str, str], head_share: float) -> dict[str, Any]:
    """What the service knows of itself; it refuses to start when one of `files` differs."""
    tail = (
        f"head: the fewest most popular items that hold {head_share:.0%} of the training interactions; "
        "tail: every other item of the catalogue; cold: a tail item without any training interaction"
    )
    about = {key: verdict[key] for key in ("verdict", "reason", "digests")}
    return {"tag": tag, **about, "files": files, "tail": tail}


if __name__ == "__main__":
    run(main, "package")
