"""`python -m pipelines.split`."""

from __future__ import annotations

from pipelines.runtime.console import run
from pipelines.split.stage import main

if __name__ == "__main__":
    run(main, "split")
