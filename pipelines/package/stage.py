"""Writes `bento.json`, and for a model with the verdict PROMOTE `longtail.tar`, built, exported and smoke-tested.

`card.md`, the model card, is beside it, and in the Bento without the measurements of it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

import pipelines
from models.inference.encoder.tokens import clean
from models.inference.factors import Factors
from pipelines.artifacts import checkpoint, embeddings_file, model_file, outputs, tables
from pipelines.artifacts.embeddings_file import Vectors
from pipelines.bentos import smoke as smoke_test
from pipelines.bentos import sources, store
from pipelines.package import card as model_card
from pipelines.package import cells as package_cells
from pipelines.package import contents
from pipelines.package import encoder as packed_encoder
from pipelines.registry import chain
from pipelines.runtime.console import say
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from pipelines.settings.package import Package

CHECKOUT = Path(pipelines.__file__).resolve().parents[1]
CARD = "README.md"  # of the Bento, as in bentofile.yaml
PACKED = "packed"  # folder of the Bento with model, items, users and verdict; bento/model/files.py reads it


def main() -> None:
    name, params = load(Champion).name, load(Package)
    with outputs.stage("package") as stage:
        judged = stage.input("gate", "verdict.json")
        verdict = outputs.read_json(judged)
        reason = f"the verdict is {verdict['verdict']}: {verdict['reason']}"
        if verdict["verdict"] != "PROMOTE":
            outputs.write_json(stage.output("bento.json"), {"built": False, "reason": reason})
            say("package", f"no Bento, because the verdict is {verdict['verdict']}")
            return
        model = stage.input("train", "model.safetensors")
        refuse_other_model(stage.inputs[model.as_posix()], verdict)
        holdout = outputs.read_json(stage.input("split", "holdout.json"))
        items = tables.read(stage.input("split", "items.parquet"))
        interactions = tables.read(stage.input("ingest", "interactions.parquet"), ["user_id", "item_id"])
        users = contents.histories(interactions, items)
        factors, provenance = model_file.read(model)
        vectors, encoder = embeddings_file.read(stage.input("embed", embeddings_file.NAME), n_items=len(items))
        refuse_other_encoder(encoder, provenance)
        chain.check_before("package")
        metrics = outputs.read_json(stage.input("evaluate", "metrics.json"))

        archive = stage.output("longtail.tar")
        with TemporaryDirectory(prefix="longtail-package-") as temp:
            context = Path(temp) / "context"
            copy_code(context)
            packed = context / PACKED
            pack(packed, [model, judged], items, users)
            search, cells = package_cells.write_cells(factors, users, packed / "cells.safetensors")
            about = {
                **release(verdict, holdout["head_share"]),
                "figures": metrics["models"]["candidate"],
                "judged_users": metrics["n_users"],
                "search": search,
                "encoder": pack_encoder(stage, factors, packed / "encoder", items, (vectors, encoder), params.encoder),
            }
            files = digests(context)
            tag = f"{name}:{version(files)}"
            outputs.write_json(packed / "release.json", about | {"tag": tag, "files": files})
            files = digests(context)
            card = model_card.write(tag, verdict, metrics, holdout, about)
            (context / CARD).write_text(card, "utf-8")
            say("package", f"building {tag}")
            labels = {"verdict": verdict["verdict"], "model": verdict["digests"]["model"][:12]}
            store.build(context, archive, tag=tag, labels=labels, home=Path(temp) / "build")
            say("package", "sending requests to the exported Bento over HTTP")
            ids = list(map(str, items["item_id"].to_pylist()))
            probe = smoke_test.Probe(factors, ids, users.user_id[0], users.history(0), cells)
            home = Path(temp) / "smoke"
            smoke, seconds, memory = smoke_test.test(archive, tag, probe, home=home, timeout=params.ready_timeout)
            taken = model_card.sizes(
                archive, packed, context / "bento/requirements.txt", seconds=seconds, memory=memory
            )
            stage.output("card.md").write_text(card + taken, "utf-8")
        report = {
            "built": True,
            "reason": reason,
            "tag": tag,
            "verdict_sha256": stage.inputs[judged.as_posix()],
            "digests": verdict["digests"],
            "sources": sources.digests(CHECKOUT),
            "files": {f"src/{path}": digest for path, digest in files.items()},
            "smoke": smoke,
        }
        outputs.write_json(stage.output("bento.json"), report)
    say("package", f"{tag} gives the same answers as the judged model")


def refuse_other_model(actual: str, verdict: dict[str, Any]) -> None:
    judged = verdict["digests"]["model"]
    if actual != judged:
        raise ValueError(
            f"data/train/model.safetensors is not the model that was judged: its sha256 is {actual}, "
            f"that of the verdict is {judged}; run `dvc repro package`"
        )


def refuse_other_encoder(actual: str, provenance: dict[str, Any]) -> None:
    trained = provenance.get("encoder", actual)
    if actual != trained:
        raise ValueError(
            f"data/embed is by the encoder {actual[:12]}, but the model was trained on {trained[:12]}; run `dvc repro`"
        )


def copy_code(context: Path) -> None:
    """Copy the serving code, at its paths in the checkout, and `bentofile.yaml` to the root, as BentoML requires."""
    for path in sources.code(CHECKOUT):
        target = context / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (context / "bento" / "bentofile.yaml").rename(context / "bentofile.yaml")


def pack(folder: Path, unchanged: list[Path], items: pa.Table, users: contents.Users) -> None:
    """Write the data files for bento/model/files.py; `unchanged` files keep the bytes that were judged."""
    folder.mkdir()
    for path in unchanged:
        shutil.copy(path, folder)
    contents.write_items(items, folder / "items.safetensors")
    users.write(folder / "users.safetensors")


def pack_encoder(
    stage: outputs.StageRun, model: Factors, folder: Path, items: pa.Table, embedded: tuple[Vectors, str],
    form: packed_encoder.Form,
) -> dict[str, Any]:  # fmt: skip
    """Write the encoder of the items' vectors, if serving can run it; return its description for the service."""
    params, (vectors, digest) = load(Embed), embedded
    encoder, projection = checkpoint.find(params), None
    if params.reduce is not None:
        projection = embeddings_file.read_projection(stage.input("embed", embeddings_file.PROJECTION))
    if embeddings_file.identity(encoder.digest, projection) != digest:
        raise ValueError("embed in params.yaml has another encoder than data/embed; run `dvc repro`")
    texts = {name: [clean(text) for text in items[name].to_pylist()] for name in params.columns}
    sample = packed_encoder.Sample(list(texts.values()), list(params.columns.values()), vectors, projection)
    return packed_encoder.write(model, encoder, folder, sample, form)


def digests(context: Path) -> dict[str, str]:
    """Return the sha256 of every file in the Bento, by its path there."""
    folders = [context / "bento", context / "models", context / PACKED]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(context).as_posix(): outputs.sha256(path) for path in paths}


def version(files: dict[str, str]) -> str:
    """Return a version, equal for equal files: the first 12 hex digits of the digest of their digests."""
    lines = "\n".join(f"{path} {digest}" for path, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def release(verdict: dict[str, Any], head_share: float) -> dict[str, Any]:
    """Return the service's description of its model."""
    tail = (
        f"head: the fewest most popular items that hold {head_share:.0%} of the training interactions; "
        "tail: every other item of the catalogue; cold: a tail item without any training interaction"
    )
    return {key: verdict[key] for key in ("verdict", "reason", "digests")} | {"tail": tail}
