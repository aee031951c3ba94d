"""Parts that Longtail has of its own beside libraries for the same, in the same run: search, text encoder, JSON.

`make bench-parts`, or `python -m benchmarks.parts [--only search encoder json packages] [--items N …]`, saved in
`benchmarks/results/parts.json`. Every part runs on one thread. Times are medians of processor time over alternating
rounds, and `gain` is how many times as fast as the library the own part is.

search: the cells of a large catalogue beside faiss's IndexIVFFlat with its default clustering, as many cells, and the
number of probes whose share of scanned items is nearest; 200 users. `gain` and `gain_batch` are for all candidates of
a list (the best 200 items and the best 60 of the tail, without seen items), one user at a time and all at once;
`gain_best` for the best 200 items alone, and `gain_build` for building. `ms` is the time of a user's candidates.
`index_mb` and `faiss_mb` leave out the vectors.
encoder: the numpy encoder beside ONNX Runtime with its fused operators, in fp32, one text at a time; states have to be
equal to 1e-5.
json: the answer of an endpoint joined from bytes of its items, beside orjson of dictionaries.
packages: installed size, and processor time of the import in a fresh process that has imported numpy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import files
from statistics import median
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks import _results, parts_encoder, parts_json, parts_search

IMPORTS = {
    "models.inference.cells": "", "faiss": "faiss-cpu",
    "models.inference.encoder.numpy_encoder": "", "onnxruntime": "onnxruntime", "orjson": "orjson",
}  # fmt: skip
ROUNDS = 7
TIMED = "import numpy, time; start = time.process_time(); import {}; print(time.process_time() - start)"


def packages() -> Iterator[dict[str, Any]]:
    """Yield a row per module: the size of its package, None for Longtail's own, and the seconds of its import."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(ROUNDS):
        for name in IMPORTS:
            command = [sys.executable, "-c", TIMED.format(name)]
            seconds[name].append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    for name, package in IMPORTS.items():
        yield {
            "import": name,
            "milliseconds": round(1e3 * median(seconds[name])),
            "megabytes": round(megabytes(package), 1) if package else None,
        }


def megabytes(package: str) -> float:
    return sum(file.size or 0 for file in files(package) or []) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--items", type=int, nargs="+", default=list(parts_search.ITEMS), help="catalogues of the search"
    )
    tables: dict[str, tuple[str, Callable[[], Iterator[dict[str, Any]]]]] = {
        "search": ("Search in cells beside faiss", lambda: parts_search.rows(arguments.items)),
        "encoder": ("Encoder of one text beside ONNX Runtime", parts_encoder.rows),
        "json": ("JSON of a list beside orjson", parts_json.rows),
        "packages": ("Packages", packages),
    }
    parser.add_argument("--only", nargs="+", choices=list(tables), help="tables (default: all)")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        _results.run("parts", tables, arguments.only)


if __name__ == "__main__":
    main()
