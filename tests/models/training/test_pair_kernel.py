from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from models.training import pair_kernel, plain_pair_kernel, row_kernel
from models.training.pair_kernel import GROUP, add_errors

ROWS = 40


@pytest.fixture(scope="module", params=[8, 16, "plain"])
def compiled(request: pytest.FixtureRequest) -> Any:
    """The kernel for processors with vectors of eight numbers, and of sixteen; its twin in plain Numba."""
    if request.param == "plain":
        return plain_pair_kernel.add_errors
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_kernel, "WIDTH", request.param)
        patch.setattr(pair_kernel, "ROW", ir.VectorType(pair_kernel.FLOAT, request.param))

        @njit
        def kernel(
            columns: Any, begin: int, end: int, weights: Any, fixed: Any, x: Any, target: Any, out: Any, wanted: bool,
            far: bool,
        ) -> float:  # fmt: skip
            return float(add_errors(columns, begin, end, weights, fixed, x, target, out, wanted, far))

        for columns in (np.zeros(1, np.int32), np.zeros(1, np.int64)):
            floats = np.zeros(1, np.float32)
            kernel(columns, 0, 0, floats, floats[None], floats, np.float32(0), floats, False, False)
        return kernel


@pytest.mark.parametrize("columns_are", [np.int32, np.int64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_every_number_of_pairs_and_dimension_equals_plain_numpy(
    compiled: Any, columns_are: type, weighted: bool, wanted: bool
) -> None:
    rng = np.random.default_rng(0)
    for d in (1, 7, 8, 15, 16, 17, 24, 64, 100, 128):
        fixed = rng.normal(size=(ROWS, d)).astype(np.float32)
        for n in range(2 * GROUP + 2):
            begin, target = int(rng.integers(3)), np.float32(rng.integers(2))
            columns: Any = rng.integers(0, ROWS, begin + n + 2).astype(columns_are)
            weights = rng.uniform(0.5, 2, len(columns)).astype(np.float32) if weighted else np.empty(0, np.float32)
            x, out = rng.normal(size=(2, d + 2)).astype(np.float32)  # what lies beyond d must stay as it is
            y = fixed[columns[begin : begin + n]].astype(np.float64)
            w = weights[begin : begin + n].astype(np.float64) if weighted else np.ones(n)
            errors = target - y @ x[:d].astype(np.float64)
            expected = out.astype(np.float64)
            expected[:d] += (w * errors) @ y if wanted else 0
            total = compiled(columns, begin, begin + n, weights, fixed, x[:d], target, out[:d], wanted, bool(n % 2))
            assert total == pytest.approx(float((w * errors**2).sum()), rel=1e-5, abs=1e-5)
            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_the_plain_kernel_stands_in_where_the_vectors_do_not_compile() -> None:
    def broken(columns: Any, floats: Any) -> float:
        raise RuntimeError("LLVM IR parsing error")

    with pytest.warns(UserWarning, match="does not compile here, training is slower: LLVM IR parsing error"):
        assert row_kernel.chosen(broken) is plain_pair_kernel.add_errors
    assert row_kernel.add_errors is pair_kernel.add_errors
