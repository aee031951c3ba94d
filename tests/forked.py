"""Stages of a clone in forked processes that are group leaders and can be killed at a moment of their life.

`python -m tests.forked STAGE…` imports the stages once, which takes most of the time of a small one, and forks for
every line of its input. Nothing is computed before a fork: thread pools do not survive it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from tests.clones import Clone


class Forked:
    """The stages of a clone."""

    def __init__(self, clone: Clone, stages: Sequence[str]) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", *stages], cwd=clone.root, env=clone.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, stage: str, crash: str | None = None) -> tuple[int, str]:
        """Exit status, negative for a signal, and output of a stage; crash: `event:path`, see `crash_at`."""
        assert self.server.stdin
        assert self.server.stdout
        print(json.dumps([stage, crash]), file=self.server.stdin, flush=True)
        status, output = json.loads(self.server.stdout.readline())
        return status, output

    def end(self) -> None:
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()


def crash_at(event: str, path: str) -> None:
    """From now on this process group ends when an audited event first speaks of a path; of `open`, to write."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and str(arguments[0]).endswith(path) and (name != "open" or "w" in (arguments[1] or "")):
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> None:
    from pipelines.runtime.console import run

    mains = {name: importlib.import_module(f"pipelines.{name}.stage").main for name in sys.argv[1:]}
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        stage, crash = json.loads(line)
        with tempfile.TemporaryFile("w+") as output:
            if (pid := os.fork()) == 0:
                os.setpgid(0, 0)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                if crash:
                    crash_at(*crash.split(":"))
                try:
                    run(mains[stage], stage)
                except SystemExit as ended:
                    status = ended.code
                else:
                    status = 0
                sys.stdout.flush()
                os._exit(int(status or 0))
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            output.seek(0)
            print(json.dumps([status, output.read()]), file=answers, flush=True)


if __name__ == "__main__":
    main()
