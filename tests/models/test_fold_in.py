"""Many users folded in at once, against the loop that serves one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models import fold_in
from tests.models.small_factors import small_factors


@pytest.mark.parametrize("cells", [1, 2**22])  # one user a batch, all in a few
def test_batched_fold_in_equals_the_loop_for_short_long_and_empty_histories(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_in, "CELLS", cells)
    model = small_factors(n_items=40, d=8)
    rng = np.random.default_rng(1)
    lengths = [0, 1, 7, 8, 9, 40, 3, 0, 16]  # below, at and above d
    histories = [np.sort(rng.choice(40, length, replace=False)) for length in lengths]
    rows = np.repeat(np.arange(len(lengths)), lengths)
    matrix = csr_array((np.ones(len(rows)), (rows, np.concatenate(histories))), shape=(len(lengths), 40))
    users = fold_in.fold_in(model, matrix, device=torch.device("cpu"))
    assert np.allclose(users, model.fold_in(histories), atol=1e-5)
    assert not users[[0, 7]].any()
