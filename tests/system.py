"""Find the programs of the operating system that tests run; `.ci/system-packages.txt` has the Debian package of each.

A test whose program is missing is skipped, and fails where CI=true: there a skipped test would be an unnoticed hole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

LIST = Path(__file__).resolve().parents[1] / ".ci" / "system-packages.txt"
FOLDERS = ("/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/jvm/*-17-*/bin")


def packages(text: str) -> dict[str, list[list[str]]]:
    """Programs by package; alternative names of a program are one list."""
    lines = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {package: [names.split("|") for names in programs] for package, *programs in lines}


def search_path() -> str:
    """Return the PATH and after it the folders in which Debian has programs; of several versions the latest first."""
    found = (str(folder) for pattern in FOLDERS for folder in sorted(Path("/").glob(pattern[1:]), reverse=True))
    return os.pathsep.join([os.environ.get("PATH", ""), *found])


def program(name: str) -> str:
    """Return the path of a program; skip the test where it is missing, or fail it where CI=true."""
    listed = {names[0]: (names, package) for package, of in packages(LIST.read_text("utf-8")).items() for names in of}
    if name not in listed:
        raise ValueError(f"{LIST} has no program {name!r}; add it beside the Debian package that holds it")
    names, package = listed[name]
    for each in names:
        if (found := shutil.which(each, path=search_path())) is not None:
            return found
    reason = f"needs the program {name}: install the Debian package {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true no test is skipped for a missing package")
    pytest.skip(reason)
