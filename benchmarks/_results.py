"""Tables of a benchmark: printed row by row, and saved in `benchmarks/results/NAME.json` with their provenance."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "numpy", "numba", "scipy", "implicit", "faiss-cpu", "onnxruntime", "orjson")

Row = Mapping[str, Any]


def run(name: str, tables: Mapping[str, tuple[str, Callable[[], Iterable[Row]]]], only: Sequence[str] | None) -> None:
    """Print and save tables, by name (title, rows); with `only` the others of the saved file are not changed."""
    path = RESULTS / f"{name}.json"
    saved: dict[str, Any] = json.loads(path.read_text("utf-8"))["tables"] if path.is_file() and only else {}
    for table, (title, rows) in tables.items():
        if only and table not in only:
            continue
        started = time.perf_counter()
        saved[table] = printed(title, rows())
        save(name, saved)  # after every table: an interrupted run keeps what it has
        print(f"\n{table}: {time.perf_counter() - started:.0f} s", flush=True)
    print(f"\nsaved in {path}")


def printed(title: str, rows: Iterable[Row]) -> list[Row]:
    """Print the rows of a table as they come, with a new header when the columns change, and return them."""
    print(f"\n## {title}", flush=True)
    found: list[Row] = []
    for row in rows:
        if not found or list(row) != list(found[-1]):
            print(f"\n{line(row)}\n{'|---' * len(row)}|")
        print(line([cell(value) for value in row.values()]), flush=True)
        found.append(row)
    return found


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def save(name: str, tables: Mapping[str, Sequence[Row]]) -> Path:
    """Write the tables, the machine, the versions and the commit."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {"commit": commit(), "machine": machine(), "versions": {name: version(name) for name in PACKAGES}}
    path.write_text(json.dumps(about | {"tables": tables}, indent=1, default=number) + "\n", "utf-8")
    return path


def number(value: object) -> object:
    """Convert numpy scalars for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not a number")


def commit() -> str:
    """Return the measured commit, with a + if files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=True
    )
    return described.stdout.strip()


def machine() -> dict[str, Any]:
    names = [row.split(":")[1].strip() for row in cpuinfo() if row.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(names) or None,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.is_file() else []
