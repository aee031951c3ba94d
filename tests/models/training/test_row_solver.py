from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.training import row_solver
from models.training.interactions import Grouped
from models.training.row_solver import improve, improve_together

Solver = Callable[..., float]
BOTH = pytest.mark.parametrize("solver", [improve, improve_together])


@dataclass(frozen=True)
class Problem:
    pairs: Grouped
    fixed: Tensor  # (m, d)
    rows: Tensor  # (n, d)
    shared: Tensor  # (d,)
    regularization: Tensor  # (n,)
    prior: Tensor | None  # (n, d)

    def solved(self, solver: Solver, *, steps: int) -> tuple[Tensor, float]:
        rows = self.rows.clone()
        objective = solver(
            self.pairs, self.fixed, rows,
            shared=self.shared, regularization=self.regularization, prior=self.prior, steps=steps,
        )  # fmt: skip
        return rows, objective

    def weights(self, row: int) -> tuple[Tensor, Tensor]:
        """The factors of a row's pairs and their weights, float64."""
        span = slice(int(self.pairs.indptr[row]), int(self.pairs.indptr[row + 1]))
        y = self.fixed[self.pairs.columns[span].long()].double()
        return y, torch.ones(len(y)).double() if self.pairs.weights is None else self.pairs.weights[span].double()

    def prior_of(self, row: int) -> Tensor:
        return torch.zeros(len(self.shared)).double() if self.prior is None else self.prior[row].double()

    def dense(self) -> Tensor:
        """The slow twin: each row's normal equations, formed and solved; rows without pairs as they are."""
        result = self.rows.double().clone()
        for row, ridge in enumerate(self.regularization.double()):
            y, w = self.weights(row)
            if len(y):
                a = (y * w[:, None]).T @ y + torch.diag(self.shared.double() + ridge)
                result[row] = torch.linalg.solve(a, y.T @ w + ridge * self.prior_of(row))
        return result

    def objective(self, rows: Tensor) -> float:
        total = 0.0
        for row, ridge in enumerate(self.regularization.double()):
            (y, w), x = self.weights(row), rows[row].double()
            if len(y):
                total += float((w * (1 - y @ x) ** 2).sum() + (self.shared * x * x).sum())
                total += float(ridge * ((x - self.prior_of(row)) ** 2).sum())
        return total


def problem(lengths: list[int], d: int, *, seed: int = 0, weighted: bool = True, anchored: bool = True) -> Problem:
    rng = np.random.default_rng(seed)
    n, m = len(lengths), max(*lengths, 5)
    columns = np.concatenate([np.sort(rng.choice(m, k, replace=False)) for k in lengths]).astype(np.int32)

    def floats(values: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))

    return Problem(
        Grouped(
            torch.tensor([0, *np.cumsum(lengths)]),
            torch.from_numpy(columns),
            floats(rng.uniform(0.5, 2, len(columns))) if weighted else None,
        ),
        fixed=floats(rng.normal(size=(m, d)) / d**0.5),
        rows=floats(rng.normal(size=(n, d)) / d**0.5),
        shared=floats(rng.uniform(0, 3, d)),
        regularization=floats(rng.uniform(0.5, 2, n)),
        prior=floats(rng.normal(size=(n, d)) / d**0.5) if anchored else None,
    )


@BOTH
@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_with_many_steps_every_row_solves_its_normal_equations(solver: Solver, weighted: bool, anchored: bool) -> None:
    case = problem([0, 1, 2, 3, 4, 5, 9, 0, 40, 300, 0], 7, weighted=weighted, anchored=anchored)
    rows, objective = case.solved(solver, steps=30)
    expected = case.dense()
    torch.testing.assert_close(rows.double(), expected, atol=1e-5, rtol=0)
    assert objective == pytest.approx(case.objective(expected), rel=1e-5)


@BOTH
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_objective_is_that_of_the_rows_afterwards(solver: Solver, steps: int) -> None:
    case = problem([6, 0, 11, 1], 5)
    rows, objective = case.solved(solver, steps=steps)
    assert objective == pytest.approx(case.objective(rows), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any),
    d=st.integers(1, 40),
    steps=st.integers(1, 4),
    weighted=st.booleans(),
    anchored=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rows_one_by_one_equal_rows_together(
    lengths: list[int], d: int, steps: int, weighted: bool, anchored: bool, seed: int
) -> None:
    case = problem(lengths, d, seed=seed, weighted=weighted, anchored=anchored)
    one_by_one, objective = case.solved(improve, steps=steps)
    together, other = case.solved(improve_together, steps=steps)
    torch.testing.assert_close(one_by_one, together, atol=1e-5, rtol=0)
    assert objective == pytest.approx(other, rel=1e-5)


@BOTH
def test_rows_without_pairs_stay_as_they_are(solver: Solver) -> None:
    case = problem([0, 4, 0], 3)
    rows, _ = case.solved(solver, steps=3)
    assert torch.equal(rows[[0, 2]], case.rows[[0, 2]])
    assert not torch.allclose(rows[1], case.rows[1])


@BOTH
def test_weights_of_one_are_no_weights(solver: Solver) -> None:
    plain = problem([3, 8, 20], 6, weighted=False)
    ones = replace(plain, pairs=replace(plain.pairs, weights=torch.ones(31)))
    torch.testing.assert_close(plain.solved(solver, steps=2), ones.solved(solver, steps=2))


def test_the_number_of_threads_changes_no_bit() -> None:
    case = problem([int(k) for k in np.random.default_rng(0).integers(0, 60, 500)], 16)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(case.solved(improve, steps=3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("pairs", [1, 7])  # at 1, the last rows are a chunk without any pair
def test_many_small_chunks_give_what_one_gives(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem([5, 0, 1, 9, 2, 2, 0, 0], 4)
    whole = case.solved(improve_together, steps=2)
    monkeypatch.setattr("models.training.row_solver.PAIRS_PER_CHUNK", pairs)
    assert len(list(row_solver.chunks(case.pairs.indptr))) > 2
    torch.testing.assert_close(case.solved(improve_together, steps=2), whole)


def test_without_numba_rows_are_improved_together(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem([5, 3], 4)
    monkeypatch.setattr("models.training.row_solver.row_kernel", None)
    rows, objective = case.solved(improve, steps=2)
    expected, other = case.solved(improve_together, steps=2)
    assert torch.equal(rows, expected)
    assert objective == other


def test_a_view_that_is_not_contiguous_is_refused() -> None:
    case = problem([5, 3], 4)
    with pytest.raises(ValueError, match="not contiguous"):
        replace(case, fixed=case.fixed.T.contiguous().T).solved(improve, steps=1)
