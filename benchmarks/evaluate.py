"""Full-catalogue ranking compared with the bare matrix product of the same shape, in the same run.

`make bench-evaluate`, or `python -m benchmarks.evaluate [--users N …] [--repeats N]`. Users come in blocks of 2,500;
the product of a block, torch's operator @, is computed at once and in the tiles of the ranking, and the faster one
counts. The ways alternate, and the fastest repeat of every block counts, so that other load on the machine affects all
equally. `extra_mb` is the rise of memory above users and items while the lists of all users are made. Factors are
random, histories those of the data set or random ones of about 50 items. A CUDA device, if torch finds one, is measured
XX users, items and histories are on the device beforehand, and all users are one block.
Saved as `benchmarks/results/evaluate.json`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, random_array
from torch import Tensor

from benchmarks import _datasets, _gpu, _results
from models.inference.candidates import Bools
from models.inference.reranking import Rerank
from models.ranking import baselines, ranking
from models.ranking.ranking import Rows
from models.ranking.seen import Seen

D, K, BATCH, SEED, BLOCK = 128, 20, 1024, 42, 2500
CPU = torch.device("cpu")
Ways = dict[str, Callable[[Rows], object]]


def rows(sizes: Sequence[int], repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each way of making lists, for each catalogue."""
    for (name, seen, is_tail), device in itertools.product(catalogues(sizes), [CPU, *_gpu.devices()]):
        n_users, n_items = seen.shape
        generator = torch.Generator().manual_seed(SEED)
        users, items = (torch.randn(n, D, generator=generator).to(device) for n in (n_users, n_items))
        products, lists = ways(users, items, seen, is_tail)
        everybody = np.arange(n_users)
        blocks = list(ranking.batches(everybody, BLOCK if device == CPU else n_users))
        seconds = fastest(products | lists, blocks, repeats=repeats, device=device)
        product = min(seconds[way] for way in products)
        where = name if device == CPU else f"{name}, {device}"
        for way, run in lists.items():
            yield {
                "catalogue": where, "users": n_users, "items": n_items, "d": D, "lists": way,
                "seconds": round(seconds[way], 3), "product_seconds": round(product, 3),
                "times_product": round(seconds[way] / product, 2),
                "extra_mb": extra_megabytes(partial(run, everybody), device),
            }  # fmt: skip


def catalogues(sizes: Sequence[int]) -> Iterator[tuple[str, csr_array[Any], Bools]]:
    """Yield names, seen items of users (n_users, n_items), and the tail (n_items,)."""
    for n_users in sizes:
        rng = np.random.default_rng(SEED)
        seen = csr_array(random_array((n_users, 30_000), density=50 / 30_000, rng=rng))
        yield "random", seen, np.arange(30_000) >= 6_000
    try:
        data = _datasets.read("anime")
    except FileNotFoundError as error:
        print(f"anime is left out: {error}")
        return
    yield "anime", data.seen("test"), data.catalogue.is_tail


def ways(users: Tensor, items: Tensor, seen: csr_array[Any], is_tail: Bools) -> tuple[Ways, Ways]:
    """Return the ways of the product, and those of making lists, each for some rows of users."""
    n_items, histories = seen.shape[1], Seen(seen)
    tile = ranking.TILE if users.device == CPU else ranking.FAR_TILE

    def product(rows: Rows) -> Tensor:
        return users[torch.from_numpy(rows)] @ items.T

    scorer = baselines.products(users, items)
    options: Any = {"allowed": np.ones(n_items, np.bool_), "k": K, "batch": BATCH}
    how = Rerank("popularity", 1.0, is_tail, np.linspace(1, 0, n_items, dtype=np.float32))
    return {
        "at once": product,
        "in tiles": lambda rows: drain(map(product, ranking.batches(rows, tile // n_items))),
    }, {
        f"best {K}": lambda rows: drain(ranking.recommend(scorer, histories, rows=rows, **options)),
        "candidates of re-ranking": lambda rows: drain(
            ranking.shortlist(scorer, histories, is_tail, rows=rows, **options)
        ),
        f"{K}, re-ranked": lambda rows: drain(
            ranking.reranked(scorer, histories, how, histories=seen, rows=rows, **options)
        ),
    }


def drain(parts: Iterator[object]) -> None:
    for _ in parts:
        pass


def fastest(ways: Ways, blocks: Sequence[Rows], *, repeats: int, device: torch.device) -> dict[str, float]:
    """Return the seconds of each way: the sum over blocks of the fastest repeat; the first block is a warm-up too."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}  # by block
    for block in [blocks[0], *blocks]:
        rounds = [
            {name: _gpu.seconds(partial(run, block), device) for name, run in ways.items()} for _ in range(repeats)
        ]
        for name in ways:
            seconds[name].append(min(each[name] for each in rounds))
    return {name: sum(of_blocks[1:]) for name, of_blocks in seconds.items()}


def extra_megabytes(run: Callable[[], object], device: torch.device) -> int | None:
    """Return the rise of resident memory during a run, None if unknown; on a GPU, its memory."""
    if device != CPU:
        return _gpu.peak_megabytes(run, device)
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not (status.is_file() and reset.exists()):
        return None
    before = kilobytes(status, "VmRSS")
    reset.write_text("5")  # resets the peak
    run()
    return (kilobytes(status, "VmHWM") - before) // 1024


def kilobytes(status: Path, name: str) -> int:
    (found,) = (line.split()[1] for line in status.read_text("utf-8").splitlines() if line.startswith(f"{name}:"))
    return int(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 40_000], help="of the random catalogues")
    arguments = parser.parse_args()
    tables = {"ranking": ("Lists compared with the bare product", partial(rows, arguments.users, arguments.repeats))}
    _results.run("evaluate", tables, None)


if __name__ == "__main__":
    main()
