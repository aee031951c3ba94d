from __future__ import annotations

import pytest
import torch

from models.compute import precision

CPU = torch.device("cpu")


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert precision.choose("fp32", CPU) == torch.float32
    assert precision.choose("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize(("fp32", "chosen"), [(2.0, torch.bfloat16), (1.2, torch.float32), (0.5, torch.float32)])
def test_auto_is_bf16_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, fp32: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "seconds", lambda *_: [fp32, 1.0])
    assert precision.choose("auto", CPU) == chosen


def test_the_probe_measures_and_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    assert all(0 < time < 10 for time in precision.seconds(torch.float32, torch.bfloat16))
    assert torch.get_num_threads() == before
