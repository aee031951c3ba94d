"""States of a checkout that many tests begin with: reached once in a run of the tests, then copied."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

NAMED = ("GIT_", "EMAIL", "HOME", "LONGTAIL_", "XDG_")  # variables that a step may depend on


class KeptStates:
    """Takes a folder from state to state: by acting, or by copying what the same steps from nothing have led to.

    A step that follows anything but a step acts, whatever is kept: any file that was written between shows it.
    """

    def __init__(self, root: Path, kept: Path | None) -> None:
        self.root, self.kept = root, kept
        self.steps: list[str] = []  # from the empty folder to what it holds
        self.written = written(root)

    def step(self, name: str, act: Callable[[], None]) -> None:
        if self.kept is None or written(self.root) != self.written:
            self.kept = None  # from here on the folder is this test's own
            act()
            return
        self.steps.append(f"{name} {[item for item in sorted(os.environ.items()) if item[0].startswith(NAMED)]}")
        state = self.kept / hashlib.sha256(json.dumps(self.steps).encode()).hexdigest()
        if state.is_dir():
            self.copy(state)
        else:
            act()
            self.keep(state)
        self.written = written(self.root)

    def copy(self, state: Path) -> None:
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(state, self.root, symlinks=True, dirs_exist_ok=True)
        subprocess.run(["git", "update-index", "-q", "--refresh"], cwd=self.root, check=False)  # the files are new ones

    def keep(self, state: Path) -> None:
        copied = Path(tempfile.mkdtemp(dir=state.parent))
        shutil.copytree(self.root, copied, symlinks=True, dirs_exist_ok=True)
        try:
            copied.rename(state)
        except OSError:  # another process was first, and what it committed has other times
            self.kept = None
            shutil.rmtree(copied)


def written(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  # thousands of files
            status = os.lstat(path)
            found[path] = (status.st_size, status.st_mtime_ns)
    return found
