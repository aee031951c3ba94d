"""`python -m pipelines.embed`."""

from __future__ import annotations

from pipelines.runtime import cores
from pipelines.runtime.console import run

if __name__ == "__main__":
    cores.claim()  # before libraries start their threads
    from pipelines.embed.stage import main

    run(main, "embed")
