"""Level and power of the gate: wrong decisions if a bound is met exactly, right ones if it is not.

`make bench-gate-level`, or `python -m benchmarks.gate_level [--repeats N] [--users N ...] [--only TABLE]`. Users and
their values are synthetic, by shape; the gate was not tuned on these shapes. At the bound "pass" and "fail" are both
wrong, nominally in at most 5 % of experiments. Compared on the same values: the percentile bootstrap, Student's t, and
one whole worst user added to all others (Gaffke). Power is compared with an oracle that knows the variance, and with
the upper limit of any method that keeps its level if few users lose everything. Saved as `results/gate_level.json`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

from benchmarks import _results
from models.evaluation.measure import Evaluation
from models.evaluation.metric import Floats, Lists
from models.gate import bounded_mean, comparison, policy
from models.gate.compared import Compared
from models.gate.comparison import Figure, Measured
from models.gate.policy import Procedure
from models.gate.rule import Rule

LEVEL, SEED = 0.05, 2024
USERS = (100, 300, 1000, 3000, 10_000, 100_000)
RESAMPLES = 300  # of the bootstrap, which is skipped above MANY users
MANY = 3000
HELD = Rule("accuracy held", "ndcg@10", reference="champion", max_loss=0.05, relative=True)
TAIL_HELD = Rule("tail held", "tail_recall@20", reference="champion", max_loss=0.01)
FOUND = Rule("tail is found", "tail_recall@20", reference="popularity", min_gain=0.002)
BEATS = Rule("beats popularity", "ndcg@10", reference="popularity", min_gain=0.0)
Rng = np.random.Generator
Pair = tuple[Floats, Floats]  # of the candidate and of its reference, (n_users,) each


@dataclass(frozen=True)
class Shape:
    """A distribution of users' values with the rule's bound met exactly."""

    name: str
    rule: Rule
    draw: Callable[[Rng, int], Pair]


def ndcg(zeros: float, rng: Rng, n: int) -> Floats:
    return np.where(rng.random(n) < zeros, 0.0, rng.beta(1.2, 2.0, n))


def recall(zeros: float, rng: Rng, n: int) -> Floats:
    relevant = rng.integers(1, 6, n)
    return np.where(rng.random(n) < zeros, 0.0, rng.binomial(relevant, 0.4, n) / relevant)


def hit(zeros: float, rng: Rng, n: int) -> Floats:
    return np.where(rng.random(n) < zeros, 0.0, 1.0)


def skewed(zeros: float, rng: Rng, n: int) -> Floats:
    return np.where(rng.random(n) < zeros, 0.0, rng.beta(0.2, 4.0, n))


Base = Callable[[float, Rng, int], Floats]


@cache
def mean_of(of: Base, zeros: float) -> float:
    return float(of(zeros, np.random.default_rng(1), 1_000_000).mean())


def redrawn(of: Base, zeros: float, same: float, loss: float, rng: Rng, n: int) -> Pair:
    """Draw values: a share `same` of users has the reference's value, all others a new draw; then all lose a share."""
    theirs, others = of(zeros, rng, n), of(zeros, rng, n)
    return (1 - loss) * np.where(rng.random(n) < same, theirs, others), theirs


def some_lose_all(of: Base, zeros: float, same: float, share: float, rng: Rng, n: int) -> Pair:
    ours, theirs = redrawn(of, zeros, same, 0.0, rng, n)
    return np.where(rng.random(n) < share, 0.0, ours), theirs


def best_served_lose_all(of: Base, zeros: float, same: float, rng: Rng, n: int) -> Pair:
    """Draw values: the users who make up a twentieth of the accuracy have a perfect list, and lose it."""
    ours, theirs = redrawn(of, zeros, same, 0.0, rng, n)
    level = mean_of(of, zeros)
    best = rng.random(n) < 0.05 * level / (0.95 + 0.05 * level)
    return np.where(best, 0.0, ours), np.where(best, 1.0, theirs)


def few_gain_much(of: Base, zeros: float, rng: Rng, n: int) -> Pair:
    """Draw values: all users lose except a few who get a perfect list; the total loss is a twentieth."""
    theirs = of(zeros, rng, n)
    level = mean_of(of, zeros)
    few = 0.3 * level
    kept = (0.95 * level - few) / ((1 - few) * level)
    return np.where(rng.random(n) < few, 1.0, kept * theirs), theirs


def lost_hits(share: float, same: float, rng: Rng, n: int) -> Pair:
    """Draw values: a share of users loses a whole hit; some of the others swap hits."""
    theirs = np.where(rng.random(n) < 0.3, 1.0, 0.0)
    ours = np.where(rng.random(n) < same, theirs, np.where(rng.random(n) < 0.3, 1.0, 0.0))
    lost = rng.random(n) < share
    return np.where(lost, 0.0, ours), np.where(lost, 1.0, theirs)


def found(value: float, rng: Rng, n: int) -> Pair:
    return np.where(rng.random(n) < FOUND.min_gain / value, value, 0.0), np.zeros(n)  # type: ignore[operator]


SHAPES = [
    *(Shape(f"dense, {same:.0%} alike", HELD, partial(redrawn, ndcg, 0.0, same, 0.05)) for same in (0.0, 0.9, 0.99)),
    *(
        Shape(f"{zeros:.1%} zeros, {same:.0%} alike", HELD, partial(redrawn, ndcg, zeros, same, 0.05))
        for zeros in (0.6, 0.95, 0.995)
        for same in (0.5, 0.9, 0.99)
    ),
    *(
        Shape(f"fractions, {zeros:.1%} zeros", HELD, partial(redrawn, recall, zeros, 0.7, 0.05))
        for zeros in (0.5, 0.95)
    ),
    *(Shape(f"skewed, {zeros:.1%} zeros", HELD, partial(redrawn, skewed, zeros, 0.5, 0.05)) for zeros in (0.0, 0.9)),
    *(
        Shape(f"5 % lose all, {same:.0%} of others alike", HELD, partial(some_lose_all, ndcg, 0.5, same, 0.05))
        for same in (1.0, 0.9, 0.5)
    ),
    *(
        Shape(
            f"the best served lose all, {same:.0%} of others alike",
            HELD,
            partial(best_served_lose_all, ndcg, 0.5, same),
        )
        for same in (1.0, 0.8)
    ),
    *(Shape(f"few gain much, {zeros:.1%} zeros", HELD, partial(few_gain_much, ndcg, zeros)) for zeros in (0.0, 0.9)),
    *(
        Shape(f"1 % lose a hit, {same:.0%} of others alike", TAIL_HELD, partial(lost_hits, 0.01, same))
        for same in (1.0, 0.98, 0.5)
    ),
    *(Shape(f"finds of {value:g}, all others 0", FOUND, partial(found, value)) for value in (1.0, 0.25)),
    *(
        Shape(f"rare hits, {zeros:.1%} zeros", BEATS, partial(redrawn, hit, zeros, 0.0, 0.0))
        for zeros in (0.9, 0.99, 0.995)
    ),
    *(
        Shape(f"skewed and unlike, {zeros:.1%} zeros", BEATS, partial(redrawn, skewed, zeros, 0.0, 0.0))
        for zeros in (0.0, 0.9)
    ),
]


def compared(rule: Rule, ours: Floats, theirs: Floats) -> Compared:
    return Compared(rule, measured(ours), measured(theirs))


def measured(values: Floats) -> Measured:
    return Measured(float(values.mean()), values, 0.0, 1.0, len(values))


def level(repeats: int, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the shares of experiments with a wrong pass, and with a wrong fail, of the gate's and other methods."""
    for shape in SHAPES:
        for n in sizes:
            rng = np.random.default_rng([SEED, n])
            times = max(repeats // (1 if n <= MANY else 2 if n <= 10 * MANY else 5), 1)
            wrong = np.mean([experiment(shape, n, rng) for _ in range(times)], axis=0)
            error = math.sqrt(0.05 * 0.95 / times)
            names = (
                "pass",
                "fail",
                "pass bootstrap",
                "fail bootstrap",
                "pass t",
                "fail t",
                "pass Gaffke",
                "fail Gaffke",
            )
            rates = {name: None if math.isnan(rate) else float(rate) for name, rate in zip(names, wrong, strict=True)}
            yield {"shape": shape.name, "rule": shape.rule.name, "users": n} | rates | {"± of 5 %": error}


def experiment(shape: Shape, n: int, rng: Rng) -> list[float]:
    """Return, for each method, 1 if it passes and 1 if it fails on one draw of users."""
    each = compared(shape.rule, *shape.draw(rng, n))
    values, worst, best = each.margins(shape.rule.threshold())
    p_pass, p_fail = each.p_values(shape.rule.threshold())
    gaffke = [one_worst_user(v, end) for v, end in ((values, worst), (-values, -best))]
    return [
        float(p_pass <= LEVEL), float(p_fail <= LEVEL and p_pass > LEVEL),
        *(bootstrap(values, rng) if n <= MANY else (math.nan, math.nan)), *student(values),
        *(float(p <= LEVEL) for p in gaffke),
    ]  # fmt: skip


def bootstrap(values: Floats, rng: Rng) -> tuple[float, float]:
    """Decide by percentile intervals of the mean; one of width 0 decides by comparison."""
    n = len(values)
    means = np.array([values[rng.integers(n, size=n)].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [LEVEL, 1 - LEVEL])
    return float(low >= -1e-12), float(high < -1e-12)


def student(values: Floats) -> tuple[float, float]:
    error = values.std(ddof=1) / math.sqrt(len(values))
    if error == 0:
        return float(values[0] >= 0), float(values[0] < 0)
    critical = stats.t.ppf(1 - LEVEL, len(values) - 1)
    return float(values.mean() >= critical * error), float(values.mean() <= -critical * error)


def one_worst_user(values: Floats, worst: float) -> float:
    return bounded_mean.mass_below(np.append(values, worst), np.ones(len(values) + 1))


MADE = {
    "dense, 90 % alike": partial(redrawn, ndcg, 0.0, 0.9),
    "60 % zeros, 50 % alike": partial(redrawn, ndcg, 0.6, 0.5),
    "60 % zeros, 90 % alike": partial(redrawn, ndcg, 0.6, 0.9),
    "60 % zeros, 99 % alike": partial(redrawn, ndcg, 0.6, 0.99),
    "95 % zeros, 90 % alike": partial(redrawn, ndcg, 0.95, 0.9),
    "fractions, 50 % zeros": partial(redrawn, recall, 0.5, 0.7),
    "skewed": partial(redrawn, skewed, 0.0, 0.5),
}


def power(repeats: int, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the share of right decisions, by true loss; the bound is a loss of 5 %."""
    for name, draw in MADE.items():
        for n in sizes:
            for loss in (0.0, 0.02, 0.1):
                rng = np.random.default_rng([SEED, n])
                ours, theirs = draw(loss, np.random.default_rng(0), 1_000_000)
                values, worst, best = compared(HELD, ours, theirs).margins(HELD.threshold())
                right = 1.0 if loss < 0.05 else -1.0
                gain, end = right * float(values.mean()), worst if right > 0 else -best
                oracle = float(ndtr(math.sqrt(n) * gain / float(values.std()) + ndtri(LEVEL)))
                times = max(repeats // (2 if n <= 10 * MANY else 8), 1)
                decided = [decides(draw(loss, rng, n), right) for _ in range(times)]
                ceiling = min(oracle, LEVEL * math.exp(min(-n * math.log1p(-gain / (gain - end)), 50.0)))
                yield {
                    "shape": name, "users": n, "true loss": loss, "right": "pass" if right > 0 else "fail",
                    "power": float(np.mean(decided)), "oracle": oracle, "limit": ceiling,
                }  # fmt: skip


def decides(pair: Pair, right: float) -> bool:
    return compared(HELD, *pair).p_values(HELD.threshold())[0 if right > 0 else 1] <= LEVEL


N_ITEMS = 2000
IS_TAIL = np.arange(N_ITEMS) >= N_ITEMS // 5
FLATNESS = {"alike": (0.8, 0.8), "flatter": (0.7, 0.9), "most see the head": (0.0, 0.0)}


def shown(rng: Rng, n: int, flatness: float) -> Lists:
    """Draw lists of 10 with power-law popularity; flatness 0: one user in 100 gets tail items."""
    scores = rng.exponential(size=(n, N_ITEMS))
    if flatness:
        scores *= np.arange(1, N_ITEMS + 1) ** flatness
    else:
        scores[:, IS_TAIL] += np.where(rng.random(n) < 0.01, -100.0, 100.0)[:, None]
    return np.argpartition(scores, 10, axis=1)[:, :10].astype(np.int32)


LISTWIDE = {"tail_coverage@10": True, "gini@10": False, "entropy@10": False}  # True: its gain is relative


def listwide(repeats: int, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the rates of `level` for figures of all lists, with the true value as bound: the mean over experiments."""
    for name, steepness in FLATNESS.items():
        for n in (n for n in sizes if n <= 1000):
            rng = np.random.default_rng([SEED, n])
            times = max(repeats // 4, 2)
            pairs = [figures([shown(rng, n, each) for each in steepness]) for _ in range(2 * times)]
            for metric, relative in LISTWIDE.items():
                of = [pair[metric] for pair in pairs]
                rule = at_the_truth(metric, relative, of[:times])
                found = [Compared(rule, our, their).p_values(rule.threshold()) for our, their in of[times:]]
                wrong = np.mean([[p <= LEVEL for p in each] for each in found], axis=0)
                error = math.sqrt(0.05 * 0.95 / times)
                row = {"lists": name, "metric": metric, "users": n}
                yield row | {"pass": float(wrong[0]), "fail": float(wrong[1]), "± of 5 %": error}


def at_the_truth(metric: str, relative: bool, pairs: Sequence[Sequence[Measured]]) -> Rule:
    """Return the rule with the mean difference of pairs of a candidate and its champion as bound."""
    ours, theirs = (float(np.mean([pair[i].value for pair in pairs])) for i in (0, 1))
    gain = (-1.0 if metric.startswith("gini") else 1.0) * (ours - theirs) / (theirs if relative else 1.0)
    if gain > 0:
        return Rule(metric, metric, "champion", relative=relative, min_gain=gain)
    return Rule(metric, metric, "champion", relative=relative, max_loss=-gain)


def figures(pair: Sequence[Lists]) -> dict[str, list[Measured]]:
    """Return the figures of all lists, of a candidate and of its champion."""
    return {metric: [figure(metric, lists) for lists in pair] for metric in LISTWIDE}


def figure(metric: str, lists: Lists) -> Measured:
    return comparison.measured(
        Figure("candidate", metric, None, None), {"candidate": Evaluation({}, lists)}, IS_TAIL, {}
    )


CORRECTIONS: tuple[Literal["none", "holm"], ...] = ("none", "holm")


def together(repeats: int, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the verdicts on six rules with one, or all, at their bounds."""
    for at_bound in (1, 6):
        for correction in CORRECTIONS:
            for n in (n for n in sizes if n <= MANY):
                rng = np.random.default_rng([SEED, n])
                how = Procedure(confidence=1 - LEVEL, correction=correction)
                times = max(repeats // 4, 1)
                said = [verdict(rng, n, at_bound, how) for _ in range(times)]
                row = {"rules at their bound": at_bound, "correction": correction, "users": n}
                shares = {name: said.count(name) / times for name in ("PROMOTE", "REJECT", "HOLD")}
                yield row | shares | {"± of 5 %": math.sqrt(0.05 * 0.95 / times)}


def verdict(rng: Rng, n: int, at_bound: int, how: Procedure) -> str:
    """Judge six independent metrics of a candidate; those at their bound lose 5 %, others gain 50 %."""
    ks = range(1, 7)
    rules = [Rule(f"rule {k}", f"ndcg@{k}", "champion", max_loss=0.05, relative=True) for k in ks]
    controls = [Rule("accurate", "recall@1", min=0.5), Rule("tail", "tail_recall@1", min=0.5)]
    values: dict[str, dict[str, Floats]] = {name: {} for name in ("candidate", "champion", "random", "popularity")}
    for k in ks:
        loss = 0.05 if k <= at_bound else -0.5
        ours, theirs = redrawn(ndcg, 0.6, 0.9, loss, rng, n)
        values["candidate"][f"ndcg@{k}"], values["champion"][f"ndcg@{k}"] = ours.clip(0, 1), theirs
        values["random"][f"ndcg@{k}"] = values["popularity"][f"ndcg@{k}"] = np.zeros(n)
    for name, each in values.items():
        for metric in ("recall@1", "tail_recall@1"):
            each[metric] = np.full(n, 0.0 if name in ("random", "popularity") else 0.9)
    lists = np.zeros((n, 1), np.int32)
    evaluations = {name: Evaluation(each, lists) for name, each in values.items()}
    return policy.judge([*rules, *controls], evaluations, IS_TAIL, how).verdict


TABLES = {
    "level": ("Wrong decisions at the bound, by shape", level),
    "listwide": ("The same of figures of all lists", listwide),
    "together": ("Verdicts on six rules at their bound", together),
    "power": ("Right decisions, compared with an oracle that knows the variance", power),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="experiments per table cell (default: 2000)")
    parser.add_argument("--users", type=int, nargs="+", default=USERS)
    parser.add_argument("--only", choices=TABLES, action="append")
    arguments = parser.parse_args()
    tables = {
        name: (title, partial(rows, arguments.repeats, arguments.users)) for name, (title, rows) in TABLES.items()
    }
    _results.run("gate_level", tables, arguments.only)


if __name__ == "__main__":
    main()
