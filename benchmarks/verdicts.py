"""Verdicts of the gate on good and bad candidates: `make bench-verdicts`.

`python -m benchmarks.verdicts [--data demo …] [--keep FOLDER]`. Per data set a scratch copy of the project runs
all stages with `longtail run`: first the candidate of `params.yaml` with fewer dimensions and epochs, which is promoted
if its verdict is PROMOTE; then, against that champion, a candidate that recommends popular items, and one that has
hardly learned anything, without texts and re-ranking. Both are made by settings alone. Saved as
`benchmarks/results/verdicts.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks import _results
from benchmarks._datasets import ROOT, folder

Settings = Mapping[str, Any]  # of params.yaml, by section.key
SMALL = {"embed.max_length": 32, "train.als.embedding_dim": 64, "train.als.epochs": 8}
PLAIN = {"train.anchor": 0.0, "train.rerank.popularity": [], "train.rerank.xquad": [], "train.rerank.slots": []}
CANDIDATES: dict[str, Settings] = {
    "normal": {},
    # a single strongly regularized dimension is little more than popularity
    "popularity only": PLAIN | {"train.als.embedding_dim": 1, "train.als.regularization": 1000.0},
    "crippled": PLAIN | {"train.als.epochs": 1, "train.als.embedding_dim": 2, "train.als.frequency_exponent": 0.0},
}


def sources() -> dict[str, Settings]:
    """Return the source of each data set."""
    table = {
        "interactions": ["anime_ratings.dat"], "delimiter": "\t", "quote": None, "min_value": 6.0,
        "columns": {"user_id": "User_ID", "item_id": "Anime_ID", "value": "Feedback", "timestamp": None},
        "items": ["anime_info.dat"], "item_columns": {"item_id": "anime_ids", "title": "name"},
        "text": "{name}. {genre}. {type}",
    }  # fmt: skip
    found: dict[str, Settings] = {"demo": {}}
    try:
        data = folder()
    except FileNotFoundError as error:
        print(f"only the demo: {error}")
        return found
    movies, anime = data / "ml-latest-small", data / "anime"
    if movies.is_dir():
        found["ml-latest-small"] = {"ingest.source": "movielens", "ingest.path": str(movies)}
    if anime.is_dir():
        found["anime"] = {"ingest.source": "table", "ingest.path": str(anime)} | {
            f"ingest.table.{key}": value for key, value in table.items()
        }
    return found


def rows(names: list[str], kept: Path | None) -> Iterator[dict[str, Any]]:
    """Yield a row per data set and candidate; copy the reports to `kept`, if given."""
    known = sources()
    for name in names:
        if name not in known:
            print(f"{name} is skipped: its folder is missing")
            continue
        with tempfile.TemporaryDirectory(prefix="longtail-verdicts-") as scratch:
            checkout = Path(scratch) / "longtail"
            clone(checkout)
            for candidate, changes in CANDIDATES.items():
                settings(checkout, SMALL | dict(known[name]) | dict(changes))
                run(checkout, "-m", "pipelines.cli.main", "run")
                if kept:
                    shutil.copytree(checkout / "data/gate", kept / name / candidate, dirs_exist_ok=True)
                yield {"data": name, "candidate": candidate} | verdict(checkout)


def clone(checkout: Path) -> None:
    """Copy the tracked files, with uncommitted changes, to a new repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in filter(None, listed.split("\0")):
        if path != "dvc.lock" and (ROOT / path).is_file():
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, checkout / path)
    name = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    for arguments in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "the project"]):
        subprocess.run(["git", *arguments], cwd=checkout, check=True)


def settings(checkout: Path, changes: Settings) -> None:
    """Write this project's params.yaml with other values of some keys."""
    yaml = YAML()
    document = yaml.load((ROOT / "params.yaml").read_text("utf-8"))
    for key, value in changes.items():
        node = document
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        if last not in node:
            raise KeyError(f"params.yaml has no key {key}; correct benchmarks/verdicts.py")
        node[last] = value
    with (checkout / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def run(checkout: Path, *arguments: str) -> None:
    """Run Python in the checkout; raises RuntimeError with the end of its output if it fails."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "BENTOML_HOME": str(checkout.parent / "bentoml")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def verdict(checkout: Path) -> dict[str, Any]:
    """Return the verdict in columns: figures of the candidate, and the decision of each rule."""
    record = json.loads((checkout / "data/gate/verdict.json").read_text("utf-8"))
    models = json.loads((checkout / "data/evaluate/metrics.json").read_text("utf-8"))["models"]
    figures = {name: round(models["candidate"][name], 4) for name in ("ndcg@10", "tail_recall@20", "tail_coverage@10")}
    decisions = {rule["name"]: rule["decision"].replace("_", " ") for rule in record["rules"]}
    return {"verdict": record["verdict"], "champion": record["champion"]["version"] or ""} | figures | decisions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["demo", "ml-latest-small", "anime"])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder for copies of the gate's reports")
    arguments = parser.parse_args()
    _results.run("verdicts", {"verdicts": ("Verdicts", partial(rows, arguments.data, arguments.keep))}, None)


if __name__ == "__main__":
    main()
