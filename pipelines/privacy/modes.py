"""Modes of files with user data or secrets: only owner and group can read them, whatever the umask.

A stage's files are 0640 in folders of 0750. DVC sets the modes of objects in its cache (0444, its mark of an unchanged
object) and of checked-out files, so the folders above are closed to others instead: data, .dvc, .longtail.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FOLDER, FILE, OTHERS = 0o750, 0o640, 0o007
CLOSED = (Path("data"), Path(".dvc/cache"), Path(".dvc/tmp"), Path(".longtail"))  # in a checkout


def is_open(path: Path) -> bool:
    """Return whether others than owner and group have any rights to a file or folder; False if it is missing."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except OSError:
        return False


def close(path: Path) -> bool:
    """Remove the rights of others from a file or folder, return whether it is closed now; group rights stay."""
    if is_open(path):
        with suppress(OSError):  # owned by another user
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    return not is_open(path)


def close_checkout() -> None:
    """Close the folders of the current checkout with user data to other users."""
    for path in CLOSED:
        close(path)


def folder(path: Path) -> Path:
    """Create a folder, if it is missing, that is closed to other users."""
    path.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    close(path)
    return path


def file(path: Path, mode: int = FILE) -> Path:
    """Create an empty file with this mode, replacing any other, before data are written to it."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    os.fchmod(handle, mode)  # the umask may have narrowed it
    os.close(handle)
    return path


def restrict(path: Path) -> None:
    """Reduce the mode of a file or folder to at most FOLDER."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & FOLDER)
