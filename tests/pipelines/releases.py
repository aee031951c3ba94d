"""Checkouts with hand-made candidates: a Git and DVC repository whose stages ran long ago, as far as DVC can tell.

The champion stage is the real one. The other stages' outputs are written by `Checkout.candidate` and recorded by
`dvc commit`; their commands fail, which proves that nothing here computes anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from dvc.repo import Repo
from ruamel.yaml import YAML
from safetensors.numpy import save_file

from models.evaluation.measure import Evaluation
from pipelines.artifacts import best_releases, outputs, per_user, tables
from pipelines.bentos import sources
from pipelines.gate import attempts
from pipelines.gate import verdict as verdicts
from pipelines.registry import tags, version_files
from pipelines.registry.champion import champion_of
from pipelines.release import release
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.gate import Gate
from tests import made
from tests.conftest import REPO, Workspace
from tests.pipelines.kept_states import KeptStates

STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["stages"]
SPLIT = {"strategy": "hash", "cutoffs": None, "seed": 42, "test": 0.1, "cold_items": 0.0, "user_space": None}
SIZES = {"n_train": 100, "n_users": 10, "n_items": 20}
SOURCE = {"source": "table"}
N_USERS, N_ITEMS, HEAD = 2000, 40, 8
VALUES = {  # of NDCG and of recall of the tail, the same for every user
    "candidate": (0.4, 0.3), "champion": (0.4, 0.3), "popularity": (0.2, 0.0), "random": (0.01, 0.05)
}  # fmt: skip


def dvc_yaml() -> str:
    """The stages as they are, of whose code only their own folders count, with commands that fail."""
    stages = {}
    for name, stage in STAGES.items():
        deps = [dep for dep in stage["deps"] if dep.startswith("data/") or dep == f"pipelines/{name}"]
        stages[name] = stage | {"deps": deps, "cmd": stage["cmd"] if name == "champion" else "exit 1"}
    return json.dumps({"stages": stages})


class Checkout:
    """A committed checkout in `root`; the current folder has to be `root` when its methods are called."""

    def __init__(self, root: Path, kept: Path | None = None) -> None:
        """kept: where states that tests begin with are kept, see `kept_states.py`."""
        self.root, self.states = root, KeptStates(root, kept)
        self.ndcg: dict[str, float] = {}  # of candidates made so far, by the sha256 of the model

    @classmethod
    def create(cls, root: Path, kept: Path | None = None) -> Checkout:
        checkout = cls(root, kept)
        checkout.states.step("start", lambda: start_anew(root))
        return checkout

    def candidate(
        self, seed: int, *, verdict: str | None = "PROMOTE", built: bool = True, ndcg: float = VALUES["candidate"][0]
    ) -> str:
        """A candidate whose model is the number `seed`, judged against the champion of now; its sha256.

        verdict: None leaves it to the policy.
        """
        self.states.step(f"candidate {seed} {verdict} {built} {ndcg}", lambda: self.make(seed, verdict, built, ndcg))
        model = outputs.sha256(Path("data/train/model.safetensors"))
        self.ndcg[model] = ndcg
        return model

    def promote(self) -> None:
        """Let the candidate serve, which must not serve yet."""
        self.states.step("promote", promote)

    def make(self, seed: int, verdict: str | None, built: bool, ndcg: float) -> None:
        write_ingest_and_split()
        with made.stage("train") as stage:
            save_file({"item_factors": np.full((2, 2), seed, np.float32)}, stage.output("model.safetensors"))
        model = outputs.sha256(Path("data/train/model.safetensors"))
        champion = champion_of(tags.read(load(Champion)), model)
        write_champion(champion)
        judge(verdict, champion, self.ndcg | {"candidate": ndcg, model: ndcg})
        package(seed, built=built)
        record()


def start_anew(root: Path) -> None:
    """A fresh checkout of the project, committed."""
    Workspace(root)
    for path, text in {
        "dvc.yaml": dvc_yaml(),
        ".dvc/config": "[core]\n    analytics = false\n    autostage = false\n",
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".dvcignore": (REPO / ".dvcignore").read_text("utf-8"),
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
    git(root, "repack", "-adq")  # one file to copy instead of two hundred


def promote() -> None:
    assert release.promote().changed


def write_ingest_and_split() -> None:
    with made.stage("ingest") as stage:
        for name in ("interactions", "items", "users"):
            tables.write(pa.table({"item_id": ["a", "b"]}), stage.output(f"{name}.parquet"))
    with made.stage("split") as stage:
        items = {"item_idx": range(N_ITEMS), "item_id": [f"i{i}" for i in range(N_ITEMS)]}
        items["is_tail"] = [i >= HEAD for i in range(N_ITEMS)]
        tables.write(pa.table(items), stage.output("items.parquet"))
        hashes = {"tail_sha256": "a" * 64, "holdout_sha256": "b" * 64}
        outputs.write_json(stage.output("holdout.json"), hashes | SPLIT | SIZES | SOURCE)


def write_champion(champion: dict[str, Any]) -> None:
    with made.stage("champion") as stage:
        outputs.write_json(stage.output("champion.json"), champion)
        if champion["version"]:
            for path in (version_files.MODEL, version_files.ITEMS):
                version_files.download(champion["commit"], path, stage.output(path.name))  # and keep nothing
        for release in best_releases.others(champion).values():
            for path in (version_files.MODEL, version_files.ITEMS):
                version_files.download(release["commit"], path, stage.output(best_releases.prefix(release) + path.name))


def judge(verdict: str | None, champion: dict[str, Any], ndcg: Mapping[str, float] = MappingProxyType({})) -> None:
    """The verdict of the policy of params.yaml, which is PROMOTE, or another in its place."""
    evaluate(champion, ndcg)
    with made.stage("gate") as stage:
        record, _ = attempts.judge(load(Gate), verdicts.saved(stage.input), champion, stage.input)
        assert verdict is None or record["verdict"] == "PROMOTE", record["reason"]
        if verdict not in (None, "PROMOTE"):
            record |= {"verdict": verdict, "reason": f"the hand-made verdict is {verdict}"}
        outputs.write_json(stage.output("verdict.json"), record)


def evaluate(champion: dict[str, Any], ndcg: Mapping[str, float]) -> None:
    """Candidate and references, champion and best releases where there are, each the same for every user.

    ndcg: of models by the sha256, and of the candidate.
    """
    older = {"champion": champion, **best_releases.others(champion)} if champion["version"] else {}
    known = {"candidate": ndcg.get("candidate")} | {
        name: ndcg.get(each["model_sha256"]) for name, each in older.items()
    }
    models = ["candidate", *older, "popularity", "random"]
    with made.stage("evaluate") as stage:
        found = {name: evaluation(name, known.get(name)) for name in models}
        tables.write(per_user.table(found, np.arange(N_USERS, dtype=np.int32), {}), stage.output("per_user.parquet"))
        described: dict[str, Any] = {
            "n_users": N_USERS,
            "unfair_champion": None,
            "unfair_best": {},
            "absent_best": {},
            "since_champion": None,
            "models": {name: {} for name in models},
        }
        outputs.write_json(stage.output("metrics.json"), described)
        for name, release in older.items():
            prefix = "" if name == "champion" else best_releases.prefix(release)
            stage.inputs[f"data/champion/{prefix}model.safetensors"] = release["model_sha256"]


def evaluation(model: str, ndcg_of_all: float | None = None) -> Evaluation:
    """Lists of the head by popularity, and all over the catalogue by the others."""
    ndcg, tail_recall = (np.full(N_USERS, value) for value in VALUES.get(model, VALUES["champion"]))
    if ndcg_of_all is not None:
        ndcg = np.full(N_USERS, ndcg_of_all)
    per_user = {f"{name}@{k}": v for name, v in (("ndcg", ndcg), ("tail_recall", tail_recall)) for k in (10, 20)}
    n_listed = HEAD if model == "popularity" else N_ITEMS
    lists = (np.arange(N_USERS)[:, None] + np.arange(min(20, n_listed))) % n_listed
    return Evaluation(per_user, lists.astype(np.int32))


def package(seed: int, *, built: bool) -> None:
    judged = Path("data/gate/verdict.json")
    bento: dict[str, Any] = {"built": False, "reason": "not built by hand"}
    with made.stage("package") as stage:
        if built:
            stage.output(version_files.ARCHIVE.name).write_bytes(b"bento of %d" % seed)
            bento = {
                "built": True, "reason": "by hand", "tag": f"longtail:{seed}",
                "sources": sources.digests(), "files": {"service.py": f"{seed}"}, "smoke": {},
                "verdict_sha256": outputs.sha256(judged), "digests": outputs.read_json(judged)["digests"],
            }  # fmt: skip
        outputs.write_json(stage.output("bento.json"), bento)


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
    command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
    env = {**os.environ, "PYTHONPATH": str(REPO)}  # for folders that are no checkout
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def longtail(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; return its output and exit status."""
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
