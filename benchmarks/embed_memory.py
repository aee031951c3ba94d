"""Memory of the embed stage for a million short texts, a table of `benchmarks.embed`.

The encoder is the packaged one without its layers, for speed; its vectors have the same length. Memory is the sampled
peak of the stage's private memory (RssAnon): vectors and cache are files, kept in memory only while there is room.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML

from pipelines.artifacts import checkpoint, outputs, tables
from pipelines.settings.document import load
from pipelines.settings.embed import Embed

ROOT = Path(__file__).resolve().parents[1]
EVERY = 0.1  # seconds between two samples
TEXT = "volume {n} of the collected letters"


def rows(n_texts: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=ROOT) as temp:
        folder = Path(temp)
        prepare(folder, n_texts)
        started = time.perf_counter()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": str(ROOT)}
        stage = subprocess.Popen(
            [sys.executable, "-m", "pipelines.embed"], cwd=folder, env=env, stdout=subprocess.DEVNULL
        )
        own = 0.0
        try:
            while stage.poll() is None:
                own = max(own, of_its_own(stage.pid))
                time.sleep(EVERY)
        finally:
            stage.kill()
        if stage.returncode:
            raise ValueError(f"the embed stage ended with status {stage.returncode}")
        size = (folder / "data/embed/embeddings.safetensors").stat().st_size
        seconds = time.perf_counter() - started
    yield {"texts": n_texts, "seconds": round(seconds), "memory_mb": round(own), "vectors_mb": round(size / 1e6)}


def prepare(folder: Path, n_texts: int) -> None:
    """Prepare a workspace with the encoder, and items with so many texts."""
    yaml, packaged = YAML(), checkpoint.find(load(Embed, ROOT / "params.yaml")).folder
    one = folder / "no-layers"
    shutil.copytree(packaged, one, ignore=shutil.ignore_patterns("*.md"))
    config = json.loads((packaged / "config.json").read_text("utf-8")) | {"num_hidden_layers": 0}
    (one / "config.json").write_text(json.dumps(config), "utf-8")
    params = yaml.load((ROOT / "params.yaml").read_text("utf-8"))
    params["embed"] |= {"model": "no-layers", "near_duplicates": None}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    here = Path.cwd()
    os.chdir(folder)
    try:
        with outputs.stage("split") as stage:
            ids, texts = ([text.format(n=n) for n in range(n_texts)] for text in ("{n:08d}", TEXT))
            tables.write(pa.table({"item_id": ids, "text": texts}), stage.output("items.parquet"))
    finally:
        os.chdir(here)


def of_its_own(pid: int) -> float:
    """Return the private megabytes of a process, not backed by files; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1000 if found else 0.0
