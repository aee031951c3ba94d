"""Time of the gate's decisions for many users, compared with SciPy's bootstrap of a single mean.

`make bench-gate`, or `python -m benchmarks.gate [--users N]`. Lists of 20 from 30,000 items, of four
models; the policy of `params.yaml` judges the candidate and both controls. All in one process, with BLAS's default
number of threads; the fastest of three repeats counts. Saved as `benchmarks/results/gate.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import _results
from models.evaluation.measure import Evaluation
from models.evaluation.metric import Floats
from models.gate import policy
from models.gate.policy import Procedure
from models.gate.rule import Rule
from pipelines.settings.document import load
from pipelines.settings.gate import Gate

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("candidate", "champion", "popularity", "random")
N_ITEMS, K, SEED, REPEATS, RESAMPLES = 30_000, 20, 42, 3, 1000
IS_TAIL = np.arange(N_ITEMS) >= N_ITEMS // 5
ACCURACY = Rule("accuracy held", "ndcg@10", reference="champion", max_loss=0.05, relative=True)
COVERAGE = Rule("tail still shown", "tail_coverage@10", reference="champion", max_loss=0.1, relative=True)
GINI = Rule("evenly shown", "gini@10", reference="champion", max_loss=0.05)


def rows(n_users: int = 100_000) -> Iterator[dict[str, Any]]:
    """Yield a row per policy, then one for the peer."""
    models = evaluations(n_users)
    default = [Rule(**rule.model_dump()) for rule in load(Gate, ROOT / "params.yaml").rules]
    policies = {
        "one mean": [ACCURACY],
        "one coverage": [COVERAGE],
        "policy of params.yaml": default,
        "the same and Gini": [*default, GINI],
    }
    how = Procedure(confidence=0.95)
    size = {"users": n_users}
    for what, rules in policies.items():
        taken = timed(partial(policy.judge, rules, models, IS_TAIL, how))
        yield {"what": what, "rules": len(rules)} | size | taken
    ours, theirs = (models[name].per_user["ndcg@10"] for name in ("candidate", "champion"))
    taken = timed(partial(peer, ours, theirs))
    yield {"what": f"scipy.stats.bootstrap, one paired mean, {RESAMPLES} resamples", "rules": 1} | size | taken


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Return elapsed seconds, and seconds of all cores together: they differ under other load on the machine."""
    found = []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - start, time.process_time() - cpu))
    seconds, of_cores = min(found)
    return {"seconds": round(seconds, 2), "cpu_seconds": round(of_cores, 2)}


def evaluations(n_users: int) -> dict[str, Evaluation]:
    """Return models whose lists prefer items of small index, the worse the model the more."""
    rng = np.random.default_rng(SEED)
    made = {}
    for steepness, name in zip((2.0, 2.2, 8.0, 1.0), MODELS, strict=True):
        start = (rng.random((n_users, 1)) ** steepness * (N_ITEMS - 7 * K)).astype(np.int32)
        lists = (start + np.arange(0, 7 * K, 7)).astype(np.int32)
        values = {metric: rng.beta(1, 4 + steepness, n_users) for metric in ("ndcg@10", "tail_recall@20", "recall@20")}
        made[name] = Evaluation(values, lists)
    return made


def peer(ours: Floats, theirs: Floats) -> None:
    """Compute SciPy's percentile interval of one relative loss."""

    def loss(a: Floats, b: Floats, axis: int = -1) -> Floats:
        return np.asarray(a.mean(axis=axis) / b.mean(axis=axis) - 1)

    stats.bootstrap(
        (ours, theirs), loss, paired=True, n_resamples=RESAMPLES, batch=50, method="percentile", rng=SEED, axis=-1
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    arguments = parser.parse_args()
    title = "Seconds of the gate's decisions"
    _results.run("gate", {"decisions": (title, partial(rows, arguments.users))}, None)


if __name__ == "__main__":
    main()
