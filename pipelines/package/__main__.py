"""`python -m pipelines.package`."""

from __future__ import annotations

from pipelines.package.stage import main
from pipelines.runtime.console import run

if __name__ == "__main__":
    run(main, "package")
