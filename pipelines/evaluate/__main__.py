"""`python -m pipelines.evaluate`."""

from __future__ import annotations

from pipelines.evaluate.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "evaluate")
