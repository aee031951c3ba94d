"""Speed of the solver compared with `implicit`: an epoch, time to a validation NDCG@10, memory and scale.

`python -m benchmarks.mf_speed [--full]`. Both solvers alternate in one process, an epoch each, on two threads and on
the same pairs, `implicit` with its defaults. Memory is measured in a process per solver. `--full` adds 100 M pairs. The
vectors of 1,000 users are computed from their histories, all at once and one after another. A CUDA device, if torch
finds one, is measured as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from scipy.sparse import csr_array, csr_matrix

from benchmarks import _gpu
from benchmarks._power_law import sample
from models.ranking.fold_in import fold_in as solve_users
from models.training.als import Als
from models.training.interactions import Grouped, Interactions
from models.training.pair_kernel import add_errors
from models.training.row_kernel import ONE, boundaries
from models.training.settings import Als as Settings

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
SIZES = {"1 M": (10_000, 9_500, 1_000_000), "10 M": (100_000, 30_000, 10_000_000), "100 M": (1_000_000, 95_000, 10**8)}
DIMS = (64, 128)
EPOCHS = 15  # implicit's default
VALID_USERS = 3000
NEW_USERS = 1000
STEPS = (1, 2, 3)  # of conjugate gradient; implicit takes 3
PEER = "implicit"
SETTINGS = Settings(
    embedding_dim=64, epochs=EPOCHS, unobserved_weight=0.1, regularization=3.0, frequency_exponent=1.0, cg_steps=2,
    seed=0,
)  # fmt: skip


def rows(*, full: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the tables' rows: `table` is the table, the other keys are its columns; seconds, GB (10⁹ bytes)."""
    with TemporaryDirectory() as folder:
        for size in ("1 M", "10 M", "100 M") if full else ("1 M", "10 M"):
            subprocess.run(command("write", size, folder), cwd=ROOT, check=True)
            if size == "10 M":
                for d in DIMS:
                    yield from measured("epochs", size, folder, str(d))
                    yield from (row for who in ("ours", PEER) for row in measured("memory", size, folder, who, str(d)))
                yield from measured("fold_in", size, folder)
            yield from measured("scale", size, folder)
            yield from measured("gpu", size, folder)
            Path(folder, f"{size}.npz").unlink()


def measured(*arguments: str) -> list[dict[str, Any]]:
    """Return the rows that this script prints in a separate process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": "1"}  # as implicit advises
    done = subprocess.run(command(*arguments), cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.mf_speed", *arguments]


def write(size: str, folder: str) -> None:
    drawn = sample(*SIZES[size], seed=0)
    np.savez(
        Path(folder, f"{size}.npz"), users=drawn.train.user_idx, items=drawn.train.item_idx,
        valid_users=drawn.valid_user_idx, valid_items=drawn.valid_item_idx,
    )  # fmt: skip


def read(size: str, folder: str) -> tuple[Interactions, csr_array[Any]]:
    """Return training pairs, and the held-out pairs as a matrix."""
    n_users, n_items, _ = SIZES[size]
    with np.load(Path(folder, f"{size}.npz")) as file:
        users, items = file["users"], file["items"]
        held_out = (np.ones(len(file["valid_users"]), np.float32), (file["valid_users"], file["valid_items"]))
    train = Interactions(users, items, np.broadcast_to(np.float32(1), len(users)), n_users, n_items)
    return train, csr_array(held_out, shape=(n_users, n_items))


def matrix(train: Interactions) -> csr_matrix[Any]:
    indptr = np.concatenate([[0], np.cumsum(np.bincount(train.user_idx, minlength=train.n_users))]).astype(np.int32)
    return csr_matrix(
        (np.ones(len(train.item_idx), np.float32), train.item_idx, indptr), (train.n_users, train.n_items)
    )


def implicit_als(d: int, epochs: int) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(factors=d, iterations=epochs, num_threads=THREADS, random_state=0)


def epochs(size: str, folder: str, dim: str) -> Iterator[dict[str, Any]]:
    """Run all solvers in turn: seconds per epoch, and NDCG@10 on valid over seconds spent in epochs."""
    train, valid = read(size, folder)
    history, d = matrix(train), int(dim)
    ndcg = judge(history, valid)
    warm_up()
    solvers = {f"ours, {steps} CG steps": start(train, d, steps) for steps in STEPS}
    running = {who: als.epochs() for who, als in solvers.items()}
    peer = implicit_als(d, EPOCHS)
    runs = {who: Run() for who in (PEER, *solvers)}

    def turn(_: int, elapsed: float, *__: Any) -> None:
        runs[PEER].add(elapsed, ndcg(peer.user_factors, peer.item_factors))
        for who, epochs_of in running.items():
            begun = time.perf_counter()
            epoch = next(epochs_of)
            elapsed = time.perf_counter() - begun
            runs[who].add(elapsed, ndcg(epoch.user_factors.numpy(), epoch.item_factors.numpy()))

    peer.fit(history, show_progress=False, callback=turn)
    one = next(iter(solvers.values()))
    limit = gather_seconds(one.users, one.item_factors) + gather_seconds(one.items, one.user_factors)
    target = max(runs[PEER].ndcg)
    for who, run in runs.items():
        first = next((k for k, value in enumerate(run.ndcg) if value >= target), None)
        yield {
            "table": "epoch", "pairs": len(train.item_idx), "d": d, "solver": who,
            "seconds": median(run.seconds), "times_as_fast": median(runs[PEER].seconds) / median(run.seconds),
            "least_seconds": min(run.seconds), "least_times_as_fast": min(runs[PEER].seconds) / min(run.seconds),
            "best_valid_ndcg@10": max(run.ndcg), "epochs_to_the_peers_best": None if first is None else first + 1,
            "seconds_to_the_peers_best": None if first is None else sum(run.seconds[: first + 1]),
            "share_of_gather_limit": limit / min(run.seconds),
        }  # fmt: skip
    gigabytes = 2 * len(train.item_idx) * d * 4 / 1e9  # read: each pair's factor, float32, in both half-sweeps
    yield {
        "table": "limit", "pairs": len(train.item_idx), "d": d, "seconds_to_read_each_factor_once": limit,
        "gigabytes_per_second": gigabytes / limit,
    }  # fmt: skip


@dataclass
class Run:
    """Progress of a solver, a value per epoch."""

    seconds: list[float] = field(default_factory=list)
    ndcg: list[float] = field(default_factory=list)

    def add(self, seconds: float, ndcg: float) -> None:
        self.seconds.append(seconds)
        self.ndcg.append(ndcg)


def start(train: Interactions, d: int, steps: int, epochs: int = EPOCHS) -> Als:
    settings = replace(SETTINGS, embedding_dim=d, cg_steps=steps, epochs=epochs)
    return Als(train, None, settings, device=torch.device("cpu"))


def judge(history: csr_matrix[Any], valid: csr_array[Any]) -> Callable[..., float]:
    """Return a function for NDCG@10 of factors on a sample of users, items of their history excluded."""
    chosen = np.random.default_rng(0).choice(np.flatnonzero(np.diff(valid.indptr)), VALID_USERS, replace=False)
    seen, relevant = history[chosen].tocoo(), valid[chosen].toarray() > 0
    discount = 1 / np.log2(np.arange(10) + 2)
    ideal = np.cumsum(discount)[np.minimum(relevant.sum(1), 10) - 1]

    def ndcg(user_factors: npt.NDArray[np.float32], item_factors: npt.NDArray[np.float32]) -> float:
        scores = torch.from_numpy(user_factors[chosen]) @ torch.from_numpy(item_factors).T
        scores[torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()] = -torch.inf
        hits = np.take_along_axis(relevant, scores.topk(10).indices.numpy(), axis=1)
        return float((hits @ discount / ideal).mean())

    return ndcg


def memory(size: str, folder: str, who: str, dim: str) -> Iterator[dict[str, Any]]:
    """Yield the peak memory of a process that loads the pairs and runs two epochs, and its rise above the pairs."""
    train, _ = read(size, folder)
    warm_up()
    if who == PEER:
        history = matrix(train)
        del train
    forget_peak()
    before = memory_gigabytes("VmRSS")
    if who == PEER:
        implicit_als(int(dim), 2).fit(history, show_progress=False)
    else:
        run_ours(train, int(dim), epochs=2)
    peak = memory_gigabytes("VmHWM")
    yield {
        "table": "memory", "pairs": SIZES[size][2], "d": int(dim), "solver": who, "peak_gigabytes": peak,
        "added_to_the_loaded_pairs": peak - before,
    }  # fmt: skip


def scale(size: str, folder: str) -> Iterator[dict[str, Any]]:
    train, _ = read(size, folder)
    warm_up()
    forget_peak()
    begun = time.perf_counter()
    seconds = run_ours(train, 64, epochs=3)
    yield {
        "table": "scale", "pairs": len(train.item_idx), "users": train.n_users, "items": train.n_items, "d": 64,
        "set_up_seconds": time.perf_counter() - begun - sum(seconds),
        "seconds_per_epoch": median(seconds),
        "least_seconds_per_epoch": min(seconds),
        "least_nanoseconds_per_pair": min(seconds) / len(train.item_idx) * 1e9,
        "peak_gigabytes": memory_gigabytes("VmHWM"),
    }  # fmt: skip


def gpu(size: str, folder: str) -> Iterator[dict[str, Any]]:
    """Yield seconds per epoch on a CUDA device, if torch finds one."""
    for device in _gpu.devices():
        yield from epochs_on(device, read(size, folder)[0])


def epochs_on(device: torch.device, train: Interactions) -> Iterator[dict[str, Any]]:
    """Yield a row per dimension: seconds per epoch without the first, and the peak memory of tensors on the device."""
    for d in DIMS:
        settings = replace(SETTINGS, embedding_dim=d, cg_steps=max(STEPS))
        als = Als(train, None, settings, device=device)
        running = als.epochs()
        next(running)  # warms up
        seconds = [_gpu.seconds(partial(next, running), device) for _ in range(4)]
        yield {
            "table": "gpu", "pairs": len(train.item_idx), "d": d, "device": device.type,
            "seconds_per_epoch": median(seconds), "least_seconds_per_epoch": min(seconds),
            "gpu_megabytes": _gpu.peak_megabytes(partial(next, running), device),
        }  # fmt: skip


def fold_in(size: str, folder: str) -> Iterator[dict[str, Any]]:
    train, _ = read(size, folder)
    als = start(train, 128, SETTINGS.cg_steps, epochs=2)
    for _ in als.epochs():
        pass
    model, everybody = als.factors().in_eigenbasis(), matrix(train)
    rows = np.random.default_rng(0).choice(train.n_users, NEW_USERS, replace=False)
    histories = csr_array(everybody[rows])
    lists = np.split(histories.indices, histories.indptr[1:-1])
    ways: dict[str, Callable[[], object]] = {
        "all at once": lambda: solve_users(model, histories, device=torch.device("cpu")),
        "one after another": lambda: model.fold_in(lists),
    }
    for way, solve in ways.items():
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            solve()
            seconds.append(time.perf_counter() - begun)
        yield {
            "table": "fold_in", "users": NEW_USERS, "mean_history": histories.nnz / NEW_USERS, "d": 128, "way": way,
            "seconds": median(seconds), "least_seconds": min(seconds),
        }  # fmt: skip


def run_ours(train: Interactions, d: int, *, epochs: int) -> list[float]:
    """Return the seconds of each epoch."""
    als = start(train, d, SETTINGS.cg_steps, epochs)
    marks = [time.perf_counter()]
    marks.extend(time.perf_counter() for _ in als.epochs())
    return list(np.diff(marks))


def warm_up() -> None:
    """Compile the kernels, or load them from the cache."""
    idx = np.arange(3, dtype=np.int32)
    run_ours(Interactions(idx, idx, np.ones(3, np.float32), 3, 3), 2, epochs=1)
    run_ours(Interactions(idx, idx, np.broadcast_to(np.float32(1), 3), 3, 3), 2, epochs=1)


def memory_gigabytes(what: str) -> float:
    """Return the process's memory now (VmRSS), or its peak (VmHWM) since its start or `forget_peak`."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return int(status[what].split()[0]) * 1024 / 1e9


def forget_peak() -> None:
    """Reset the peak, after loading and compiling."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def gather_seconds(pairs: Grouped, fixed: torch.Tensor) -> float:
    """Return the seconds to multiply the factor of every pair once, in the solver's order; the best of three."""
    indptr, columns, table = pairs.indptr.numpy(), pairs.columns.numpy(), fixed.numpy()
    numba.set_num_threads(THREADS)
    _gather(indptr[:2], columns, table, boundaries(indptr[:2]))
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        _gather(indptr, columns, table, boundaries(indptr))
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@njit(parallel=True, fastmath=True)
def _gather(indptr: Any, columns: Any, table: Any, cuts: Any) -> Any:
    total, no_weights = np.zeros(len(cuts) - 1), np.empty(0, np.float32)
    for chunk in prange(len(cuts) - 1):
        x = np.ones(table.shape[1], np.float32)
        begin, end = indptr[cuts[chunk]], indptr[cuts[chunk + 1]]
        total[chunk] = add_errors(columns, begin, end, no_weights, table, x, ONE, x, False, True)
    return total


PARTS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "epochs": epochs,
    "memory": memory,
    "scale": scale,
    "gpu": gpu,
    "fold_in": fold_in,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also 100 M pairs, which takes 10 GB of memory")
    parser.add_argument("part", nargs="*", help="internal: one measurement, in this process")
    arguments = parser.parse_args()
    if arguments.part and arguments.part[0] == "write":
        write(*arguments.part[1:])
        return
    found = PARTS[arguments.part[0]](*arguments.part[1:]) if arguments.part else rows(full=arguments.full)
    for row in found:
        print(json.dumps(row) if arguments.part else table_line(row), flush=True)


def table_line(row: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


if __name__ == "__main__":
    main()
