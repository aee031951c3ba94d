"""Ingest and split of a million and more interactions: seconds, rows per second and peak memory, and those of peers.

`python -m benchmarks.ingest [--rows N ...] [--large] [--rounds N]`. The peers parse the same CSV file, apply the same
checks, merge the events of a pair and write parquet, but do not record dropped rows; ingest keeps every rejected row.
Saved as `benchmarks/results/ingest.json`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from ruamel.yaml import YAML

from benchmarks import _results as results

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_000_000, 20_000_000)
LARGE = 100_000_000
CHUNK = 2_000_000
DIRTY = 10_000  # one row of so many has an invalid value
VALUES = ("0.5", "1.0", "2.0", "3.0", "3.5", "4.0", "4.5", "5.0")
SEED = 42

PANDAS = """
import pandas as pd
events = pd.read_csv("raw/interactions.csv", dtype=str, keep_default_na=False)
events["value"] = pd.to_numeric(events.value, errors="coerce")
events["timestamp"] = pd.to_numeric(events.timestamp, errors="coerce")
good = (events.user_id.str.strip() != "") & (events.item_id.str.strip() != "") & (events.value > 0)
good &= (events.value < 3.4e38) & events.timestamp.between(631152000, 4102444799)
events = events[good].sort_values("timestamp", kind="stable")
merged = events.groupby(["user_id", "item_id"], sort=True).agg(
    value=("value", "last"), timestamp=("timestamp", "first"), n_events=("value", "size")).reset_index()
merged["timestamp"] = pd.to_datetime(merged.timestamp, unit="s", utc=True)
merged.to_parquet("peer.parquet", compression="zstd")
"""
POLARS = """
import polars as pl
events = pl.scan_csv("raw/interactions.csv", infer_schema=False).with_columns(
    pl.col("value").cast(pl.Float32, strict=False), pl.col("timestamp").cast(pl.Int64, strict=False))
good = events.filter(
    (pl.col("user_id").str.strip_chars() != "") & (pl.col("item_id").str.strip_chars() != "")
    & (pl.col("value") > 0) & pl.col("value").is_finite() & pl.col("timestamp").is_between(631152000, 4102444799))
merged = good.group_by("user_id", "item_id").agg(
    pl.col("value").sort_by("timestamp").last(), pl.col("timestamp").min(), pl.len().alias("n_events"))
merged.with_columns(pl.from_epoch("timestamp")).sort("user_id", "item_id").collect().write_parquet("peer.parquet")
"""
STAGE = "from pipelines.{0} import stage; stage.main()"


def rows(sizes: Sequence[int] = SIZES, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Yield a row per size and program: seconds, rows per second, peak memory in GB, each the median of the rounds."""
    for n in sizes:
        with TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
            folder = Path(name)
            prepare(folder, n)
            peers = {"polars": POLARS, "pandas": PANDAS}
            programs = {f"{p}, without accounting": peers[p] for p in peers if find_spec(p) and n < LARGE}
            programs |= {f"longtail {stage}": STAGE.format(stage) for stage in ("ingest", "validate", "split")}
            taken: dict[str, list[dict[str, float]]] = {program: [] for program in programs}
            for _ in range(rounds if n < LARGE else 1):
                for program, code in programs.items():
                    rmtree(folder / ".longtail", ignore_errors=True)  # otherwise ingest would reuse its result
                    taken[program].append(measured(folder, code))
            for program, figures in taken.items():
                seconds, peak = (median(figure[name] for figure in figures) for name in ("seconds", "peak_gb"))
                speed = {"seconds": round(seconds, 1), "rows_per_second": round(n / seconds)}
                yield {"rows": n, "program": program, **speed, "peak_gb": round(peak, 2)}


def prepare(folder: Path, n: int) -> None:
    """Prepare a folder with params.yaml and raw/interactions.csv of `n` rows."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text("utf-8"))
    params["ingest"] |= {"source": "table", "path": "raw"}
    params["ingest"]["table"] |= {
        "interactions": ["interactions.csv"],
        "columns": {"user_id": "user_id", "item_id": "item_id", "value": "value", "timestamp": "timestamp"},
        "timestamp_unit": "s",
        "items": [],
    }
    params["validate"]["max_empty_text"] = 1.0  # there are no item files
    yaml.dump(params, folder / "params.yaml")
    (folder / "raw").mkdir()
    write_events(folder / "raw" / "interactions.csv", n)


def write_events(path: Path, n: int) -> None:
    """Write `n` events with power-law users and items, in the order of time; every 10,000th is malformed."""
    rng = np.random.default_rng(SEED)
    n_users, n_items = max(n // 100, 1000), max(n // 1000, 500)
    with path.open("wb") as file:
        file.write(b"user_id,item_id,value,timestamp\n")
        for start in range(0, n, CHUNK):
            size = min(CHUNK, n - start)
            columns = {
                "user_id": names("u", (n_users * rng.random(size) ** 2).astype(np.int64)),
                "item_id": names("i", (n_items * rng.random(size) ** 4).astype(np.int64)),
                "value": values(rng, size),
                "timestamp": pa.array(1_500_000_000 + (start + np.arange(size)) * 200_000_000 // n),
            }
            pc.write_csv(pa.table(columns), file, pc.WriteOptions(include_header=False, quoting_style="none"))


def names(prefix: str, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array[Any]:
    unique, codes = np.unique(numbers, return_inverse=True)
    return pa.DictionaryArray.from_arrays(codes, [f"{prefix}{number}" for number in unique]).cast(pa.string())


def values(rng: np.random.Generator, size: int) -> pa.Array[Any]:
    codes = rng.integers(0, len(VALUES), size)
    codes[::DIRTY] = len(VALUES)
    return pa.DictionaryArray.from_arrays(codes, [*VALUES, "x"]).cast(pa.string())


def measured(folder: Path, code: str) -> dict[str, float]:
    """Run a program in `folder` and return seconds and peak memory (GB); raises ValueError if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise ValueError(f"a program failed with exit status {status}, see above: {code.strip().splitlines()[0]}")
    return {"seconds": time.monotonic() - started, "peak_gb": usage.ru_maxrss / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="interactions (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help="also a hundred million rows, without pandas")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, for the median (default: %(default)s)")
    arguments = parser.parse_args()
    for peer in ("polars", "pandas"):
        if not find_spec(peer):
            print(f"{peer} is not installed and is skipped")
    sizes = [*arguments.rows, *([LARGE] if arguments.large else [])]
    results.run(
        "ingest",
        {"ingest": ("Ingest and split compared with other readers", lambda: rows(sizes, arguments.rounds))},
        None,
    )


if __name__ == "__main__":
    main()
