"""Checkouts with hand-made candidates: a Git and DVC repository whose stages ran long ago, as far as DVC can tell.

The champion stage is the real one. The other stages' outputs are written by `Checkout.candidate` and recorded by
`dvc commit`; their commands fail, which proves that nothing here computes anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from dvc.repo import Repo
from safetensors.numpy import save_file

from models.rules import outcome
from pipelines import _artifacts as artifacts
from pipelines import _bento_sources, _registry, _tables
from pipelines._digests import digests
from pipelines._params import Champion, Gate, load
from pipelines._verdict import SCHEMA_VERSION, policy_of
from pipelines.champion import champion_of
from tests.conftest import REPO, Workspace

STAGES = ("ingest", "split", "train", "champion", "evaluate", "gate", "package")
DVC_YAML = "stages:\n" + "".join(
    f"  {name}:\n    cmd: {'python -m pipelines.champion' if name == 'champion' else 'exit 1'}\n"
    f"    outs: [data/{name}]\n    params: [{name}]\n" + ("    always_changed: true\n" if name == "champion" else "")
    for name in STAGES
)
SPLIT = {"strategy": "hash", "cutoffs": None, "seed": 42, "test": 0.1}
SIZES = {"n_train": 100, "n_users": 10, "n_items": 20}
MEASURED = {
    "n_users": 3, "value": 0.2, "reference_value": 0.1, "effect": 0.1, "interval": [0.05, 0.15], "p_violated": 1.0,
    "decision": "pass", "reason": "0.2 against 0.1",
}  # fmt: skip
CONTROLS = [
    {"model": name, "rejected_by": [rule], "discriminates": True, "undecided": False}
    for name, rule in (("random", "beats popularity"), ("popularity", "tail is found"))
]


class Checkout:
    """A committed checkout in `root`; the current folder has to be `root` when its methods are called."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path) -> Checkout:
        Workspace(root)
        for path, text in {
            "dvc.yaml": DVC_YAML,
            ".dvc/config": "[core]\n    analytics = false\n    autostage = false\n",
            ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
            ".gitignore": "/data/*\n!/data/raw/\n/data/raw/*\n!/data/raw/README.md\n!/data/raw/*.dvc\n"
            "/.longtail\n__pycache__\n",
            "data/raw/README.md": "nothing here\n",
            "notes.txt": "tracked\n",
            "bento/service.py": "# what serves\n",
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        git(root, "init", "--quiet", "--initial-branch=main")
        git(root, "add", ".")
        commit(root, "start")
        return cls(root)

    def candidate(self, seed: int, *, verdict: str = "PROMOTE", built: bool = True) -> str:
        """A candidate whose model is the number `seed`, judged against the champion of now; its sha256."""
        write_ingest_and_split()
        with artifacts.stage("train") as stage:
            save_file({"item_factors": np.full((2, 2), seed, np.float32)}, stage.output("model.safetensors"))
        model = artifacts.sha256(Path("data/train/model.safetensors"))
        champion = champion_of(_registry.read(load(Champion)), model)
        with artifacts.stage("champion") as stage:
            artifacts.write_json(stage.output("champion.json"), champion)
        judge(verdict, champion)
        package(seed, built=built)
        record()
        return model


def write_ingest_and_split() -> None:
    with artifacts.stage("ingest") as stage:
        for name in ("interactions", "items"):
            _tables.write(pa.table({"item_id": ["a", "b"]}), stage.output(f"{name}.parquet"))
    with artifacts.stage("split") as stage:
        _tables.write(pa.table({"item_idx": [0, 1], "item_id": ["a", "b"]}), stage.output("items.parquet"))
        hashes = {"tail_sha256": "t" * 64, "holdout_sha256": "h" * 64}
        artifacts.write_json(stage.output("holdout.json"), hashes | SPLIT | SIZES)


def judge(verdict: str, champion: dict[str, Any]) -> None:
    """A verdict on every rule of params.yaml, all with the same numbers, as from data/evaluate/metrics.json."""
    rules, how = policy_of(load(Gate))
    outcomes = [asdict(outcome(rule, "pass", "", n_users=3, value=0.2)) | MEASURED for rule in rules]
    record = {
        "schema_version": SCHEMA_VERSION, "verdict": verdict, "reason": f"the hand-made verdict is {verdict}",
        "rules": outcomes, "controls": CONTROLS, "champion": champion, "n_users": 3, "digests": digests(),
        **asdict(how),
    }  # fmt: skip
    with artifacts.stage("evaluate") as stage:
        artifacts.write_json(stage.output("metrics.json"), {"ndcg@10": 0.2})
    with artifacts.stage("gate") as stage:
        stage.input("evaluate", "metrics.json")
        artifacts.write_json(stage.output("verdict.json"), record)


def package(seed: int, *, built: bool) -> None:
    judged = Path("data/gate/verdict.json")
    bento: dict[str, Any] = {"built": False, "reason": "not built by hand"}
    with artifacts.stage("package") as stage:
        if built:
            stage.output("longtail.bento").write_bytes(b"bento of %d" % seed)
            bento = {
                "built": True, "reason": "by hand", "tag": f"longtail:{seed}",
                "sources": _bento_sources.digests(), "files": {"service.py": f"{seed}"}, "smoke": {},
                "verdict_sha256": artifacts.sha256(judged), "digests": artifacts.read_json(judged)["digests"],
            }  # fmt: skip
        artifacts.write_json(stage.output("bento.json"), bento)


def record() -> None:
    """Write dvc.lock and fill the cache with what lies in data/."""
    with Repo() as repo:
        repo.commit(force=True)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> None:
    """A commit that needs no configured identity."""
    git(folder, "-c", "user.name=Someone", "-c", "user.email=someone@example.org", "commit", "--quiet", "-am", message)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command `longtail` as a process of its own in a folder."""
    command = [sys.executable, "-m", "pipelines._cli", *arguments]
    env = {**os.environ, "PYTHONPATH": str(REPO)}  # for folders that are no checkout
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def longtail(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command printed, and its exit status."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def share(checkout: Checkout, folder: Path) -> None:
    """Give the checkout a bare Git remote `origin` and a DVC remote below `folder`, and share the registry there."""
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(checkout.root, "remote", "add", "origin", str(folder / "origin.git"))
    with (checkout.root / ".dvc/config").open("a") as config:
        config.write(f"    remote = storage\n['remote \"storage\"']\n    url = {folder / 'storage'}\n")
    settings = checkout.root / "params.yaml"
    settings.write_text(re.sub("^  remote: null", "  remote: origin", settings.read_text(), flags=re.MULTILINE))
    commit(checkout.root, "share")
    git(checkout.root, "push", "--quiet", "origin", "main")


def clone(checkout: Checkout, folder: Path) -> Checkout:
    git(checkout.root, "clone", "--quiet", git(checkout.root, "remote", "get-url", "origin"), str(folder))
    return Checkout(folder)
