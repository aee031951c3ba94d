"""`python -m pipelines.train`."""

from __future__ import annotations

from pipelines.runtime.console import run
from pipelines.train.stage import main

if __name__ == "__main__":
    run(main, "train")
