"""`python -m pipelines.ingest`."""

from __future__ import annotations

from pipelines.ingest.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "ingest")
