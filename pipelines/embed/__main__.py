"""`python -m pipelines.embed`."""

from __future__ import annotations

from pipelines.embed.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "embed")
