"""`python -m pipelines.evaluate`."""

from __future__ import annotations

from pipelines.runtime import cores
from pipelines.runtime.console import run

if __name__ == "__main__":
    cores.claim()  # before libraries start their threads
    from pipelines.evaluate.stage import main

    run(main, "evaluate")
