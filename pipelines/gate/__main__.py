"""`python -m pipelines.gate`."""

from __future__ import annotations

from pipelines.gate.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "gate")
