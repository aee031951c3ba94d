"""`python -m pipelines.champion`."""

from __future__ import annotations

from pipelines.champion.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "champion")
