"""Clones of the project in which whole runs are tested."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import REPO, edit_params


class Clone:
    """A clone of the project with settings of its own, on a machine that knows nothing of Git identities."""

    def __init__(self, root: Path) -> None:
        self.root = root
        home = root.parent / "home"
        home.mkdir(parents=True)
        self.env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": str(root),
            "BENTOML_HOME": str(home / "bentoml"),
            "DVC_NO_ANALYTICS": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            "NUMBA_CACHE_DIR": str(Path.home() / ".cache" / "numba"),  # compiling takes longer than a stage
        }

        for path in working_tree():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / path, root / path)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.commit("the project")

    def run(self, *command: str, status: int = 0, cwd: Path | None = None) -> str:
        """Standard output and error of a command that must end with `status`."""
        result = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == status, f"{command} exited {result.returncode}:\n{result.stdout}"
        return result.stdout

    def longtail(self, *arguments: str, status: int = 0) -> str:
        return self.run(sys.executable, "-m", "pipelines.cli.main", *arguments, status=status)

    def dvc(self, *arguments: str, status: int = 0, cwd: Path | None = None) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, status=status, cwd=cwd)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self, message: str) -> None:
        self.git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "-m", message)

    def params(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        for section, keys in changes.items():
            edit_params(self.root / "params.yaml", section, keys)

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text("utf-8"))

    def modified(self) -> dict[str, int]:
        """Return the time of each stage's last published output, in nanoseconds."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.root.glob("data/*/manifest.json")}


def working_tree() -> Iterator[Path]:
    """Yield the files that a clone of a commit of the working tree would have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    yield from (Path(name) for name in listed.split("\0") if name and name != "dvc.lock" and (REPO / name).is_file())
