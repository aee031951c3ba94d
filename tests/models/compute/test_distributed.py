from __future__ import annotations

from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.distributed as dist

from models.compute.distributed import Ranks
from models.training.als import Als, Interactions
from models.training.anchor import TextAnchor
from models.training.settings import Als as Settings

pytestmark = pytest.mark.slow  # two processes that import torch

N_USERS, N_ITEMS = 60, 40
Result = dict[str, npt.NDArray[Any]]
SETTINGS = Settings(
    embedding_dim=8, epochs=3, unobserved_weight=0.2, regularization=0.5, frequency_exponent=0.7, cg_steps=2, seed=3
)


def data() -> Interactions:
    """Random weighted pairs; the last three items are cold."""
    rng = np.random.default_rng(0)
    matrix = rng.random((N_USERS, N_ITEMS - 3)) < 0.2
    users, items = np.nonzero(matrix)
    weights = rng.uniform(0.5, 2.0, len(users)).astype(np.float32)
    return Interactions(users.astype(np.int32), items.astype(np.int32), weights, N_USERS, N_ITEMS)


def trained(settings: Settings, ranks: Ranks) -> tuple[Als, list[float]]:
    text = torch.from_numpy(np.random.default_rng(1).normal(size=(N_ITEMS, 5)).astype(np.float32))
    anchor = TextAnchor(text, strength=0.8, ridge=1.0)
    als = Als(data(), anchor, settings, device=torch.device("cpu"), ranks=ranks)
    return als, [epoch.loss for epoch in als.epochs()]


def one_rank(rank: int, size: int, folder: str) -> None:
    """Train as one of several processes; leave what became of it in `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    ranks = Ranks(rank, size)
    als, losses = trained(SETTINGS, ranks)
    received = als.ranks.traffic.received_bytes
    users = ranks.gather(als.user_factors, als.user_shares)
    try:
        trained(replace(SETTINGS, unobserved_weight=1e300), ranks)
    except ValueError as error:
        refusal = str(error)
    np.savez(
        Path(folder, f"{rank}.npz"), users=users.numpy(), items=als.item_factors.numpy(), losses=losses,
        pairs=[len(als.users.columns), len(als.items.columns)], received=received, refusal=refusal,
    )  # fmt: skip
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    folder = tmp_path_factory.mktemp("ranks")
    ranks = [get_context("spawn").Process(target=one_rank, args=(rank, 2, str(folder))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
        assert process.exitcode == 0
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(2)]


def test_two_processes_give_what_one_gives(two: list[Result]) -> None:
    als, losses = trained(SETTINGS, Ranks())
    scores = als.user_factors @ als.item_factors.T
    for result in two:
        np.testing.assert_allclose(result["users"] @ result["items"].T, scores, atol=1e-5)
        np.testing.assert_allclose(result["losses"], losses, rtol=1e-5)
    np.testing.assert_array_equal(two[0]["items"], two[1]["items"])


def test_each_process_holds_about_half_of_the_pairs(two: list[Result]) -> None:
    held = np.stack([result["pairs"] for result in two])  # (ranks, sides)
    n_pairs = len(data().user_idx)
    assert held.sum(axis=0).tolist() == [n_pairs, n_pairs]
    assert held.max() < 0.6 * n_pairs


def test_a_process_receives_the_others_factors_once_an_epoch(two: list[Result]) -> None:
    d, epochs = SETTINGS.embedding_dim, SETTINGS.epochs
    factors = (N_USERS + N_ITEMS) * d * 4  # bytes
    small = (3 * d * d + 2 * d) * 4 + 2 * 8  # a Gram matrix, two bases and their eigenvalues, two objectives
    total = sum(int(result["received"]) for result in two)
    assert total == epochs * (factors + 2 * small)


def test_every_process_refuses_a_diverging_setting(two: list[Result]) -> None:
    assert all("training diverged" in str(result["refusal"]) for result in two)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_cover_all_rows_once_even_where_ranks_outnumber_rows(size: int) -> None:
    shares = Ranks(0, size).shares(torch.tensor([5, 0, 1]))
    assert len(shares) == size
    assert [row for share in shares for row in range(share.start, share.stop)] == [0, 1, 2]
