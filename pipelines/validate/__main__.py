"""`python -m pipelines.validate`."""

from __future__ import annotations

from pipelines.runtime.console import run
from pipelines.validate.stage import main

if __name__ == "__main__":
    run(main, "validate")
