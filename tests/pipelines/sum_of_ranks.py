"""A stand-in for a stage: every process leaves a file named by its rank, which holds the sum over ranks of rank + 1."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pipelines.runtime import ranks

if __name__ == "__main__":
    if os.environ.get("FAIL"):
        raise SystemExit(3)
    with ranks.joined(torch.device("cpu")) as (group, device):
        total = group.sum(torch.tensor([group.rank + 1.0], device=device))
        Path(os.environ["RESULTS"], str(group.rank)).write_text(str(float(total)), "ascii")
