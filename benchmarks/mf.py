"""All tables of the matrix factorization and its peers: `make bench-mf`, saved as `benchmarks/results/mf.json`.

`python -m benchmarks.mf [--data NAME or folder ...] [--only TABLE ...] [--full]`. Every table is also a separate
script, `benchmarks/mf_TABLE.py`, with the method in its docstring. With --only the other tables of the saved file are
not changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import _results as results
from benchmarks import mf_cold, mf_models, mf_quality, mf_rerank, mf_speed
from benchmarks._datasets import NAMES

Table = Callable[[], Iterator[dict[str, Any]]]


def tables(names: list[str], *, full: bool) -> dict[str, tuple[str, Table]]:
    return {
        "speed": ("Seconds and memory of the solver", lambda: mf_speed.rows(full=full)),
        "quality": ("Accuracy and tail against equally tuned peers, on test", lambda: mf_quality.rows(names)),
        "cold": ("Items without interactions", lambda: mf_cold.rows(names)),
        "rerank": ("Re-ranking towards the tail, on test", lambda: mf_rerank.rows(names)),
        "models": ("The models of train.model, on test", lambda: mf_models.rows(names if full else names[:1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(NAMES), help="names in the folder of data sets, or folders")
    parser.add_argument("--only", nargs="+", choices=list(tables([], full=False)), help="tables (default: all)")
    parser.add_argument(
        "--full",
        action="store_true",
        help="also the solver on 100 M pairs, which takes 10 GB of memory, and "
        "the models of train.model on every data set, which takes an hour",
    )
    arguments = parser.parse_args()
    results.run("mf", tables(arguments.data, full=arguments.full), arguments.only)


if __name__ == "__main__":
    main()
