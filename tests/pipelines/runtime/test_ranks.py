from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.runtime import ranks

STAGE = "tests.pipelines.sum_of_ranks"


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    assert not ranks.launched()
    with ranks.joined(torch.device("cpu")) as (group, device):
        assert (group.rank, group.size, device.type) == (0, 1, "cpu")


@pytest.mark.slow
def test_launched_processes_find_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path))
    ranks.launch(STAGE, 2)
    assert {path.name: path.read_text("ascii") for path in tmp_path.iterdir()} == {"0": "3.0", "1": "3.0"}


@pytest.mark.slow
def test_a_process_that_fails_ends_the_stage_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(ValueError, match="one of 2 processes"):
        ranks.launch(STAGE, 2)
