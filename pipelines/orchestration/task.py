"""`python -m pipelines.orchestration.task ACTION JSON`: run the action of a DAG's task, in its own process group.

The result is written as JSON to the file in LONGTAIL_RESULT. Exit status 1: a retry would fail the same way; 75: it may
succeed. So may an error that nobody foresaw, since libraries of remotes raise their own: its traceback is printed too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from pipelines.runtime.console import TRY_AGAIN, print_traceback, sentence
from pipelines.workspace import git, lock

RESULT = "LONGTAIL_RESULT"
FINAL = (ValueError, FileNotFoundError, PermissionError)

ACTIONS = {  # action -> module: each task imports only its own
    **dict.fromkeys(("prepare", "stage", "clean_up"), "pipelines.orchestration.run_tasks"),
    **dict.fromkeys(("describe", "record"), "pipelines.orchestration.approval_tasks"),
    **dict.fromkeys(("choose", "smoke_test", "rollback"), "pipelines.orchestration.rollback_tasks"),
    "promote": "pipelines.orchestration.run_release",
    "look": "pipelines.orchestration.new_data",
    "deploy": "pipelines.orchestration.deployment",
}


def main() -> None:
    sys.excepthook = print_traceback
    lock.end_with_parent()
    action, arguments = sys.argv[1], json.loads(sys.argv[2])
    try:
        module = importlib.import_module(ACTIONS[action])
        result = getattr(module, action)(**arguments)
    except Exception as error:
        if os.environ.get("LONGTAIL_DEBUG") or not isinstance(error, (*FINAL, OSError)):
            print_traceback(type(error), error, error.__traceback__)
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        print(f"{action}: error: {kind}{sentence(error)}", flush=True)
        final = isinstance(error, FINAL) and not isinstance(error, git.GitError)
        raise SystemExit(1 if final else TRY_AGAIN) from None
    if (path := os.environ.get(RESULT)) is not None:
        Path(path).write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
