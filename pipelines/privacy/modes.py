"""Modes of what holds user data or secrets: owner and group alone read it, whatever the umask is.

A stage's files are 0640 in folders of 0750. DVC sets the modes of what it caches (0444, by which it tells an untouched
object) and of what it checks out, so the folders above these are closed to others instead: data, .dvc, .longtail.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FOLDER, FILE, OTHERS = 0o750, 0o640, 0o007
CLOSED = (Path("data"), Path(".dvc/cache"), Path(".dvc/tmp"), Path(".longtail"))  # in a checkout


def is_open(path: Path) -> bool:
    """Whether users beyond owner and group may do anything with a file or folder; False where there is none."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except OSError:
        return False


def close(path: Path) -> bool:
    """Take the rights of others from a file or folder; whether it is closed now. What the group may do stays."""
    if is_open(path):
        with suppress(OSError):  # it is somebody else's
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    return not is_open(path)


def close_checkout() -> None:
    """Close the folders of the current checkout that hold user data."""
    for path in CLOSED:
        close(path)


def folder(path: Path) -> Path:
    """Create a folder of our own, if it is missing, that is closed to others."""
    path.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    close(path)
    return path


def file(path: Path, mode: int = FILE) -> Path:
    """Create an empty file in this mode, in place of any other, before data are written to it."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    os.fchmod(handle, mode)  # which the umask may have narrowed
    os.close(handle)
    return path


def restrict(path: Path) -> None:
    """Give a file or folder that was written under the umask no more than FOLDER allows."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & FOLDER)
