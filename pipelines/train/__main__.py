"""`python -m pipelines.train`."""

from __future__ import annotations

from pipelines.runtime import cores
from pipelines.runtime.console import run

if __name__ == "__main__":
    cores.claim()  # before libraries start their threads
    from pipelines.train.stage import main

    run(main, "train")
