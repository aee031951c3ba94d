"""Limit on the unpacked size of a file: a few kilobytes could otherwise fill the disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

VARIABLE = "LONGTAIL_MAX_UNPACKED"  # such as 500GB; replaces the limits below
RATIO = 200  # times the packed size; usual for tables: 5 to 50
ALWAYS = 1 << 30  # bytes allowed for any file
DISK = 0.8  # share of the free disk
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def limit(packed: Path, folder: Path) -> int:
    """Return the bytes that a packed file may unpack to in a folder."""
    free = int(shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free)
    allowed = max(ALWAYS, RATIO * packed.stat().st_size)
    if text := os.environ.get(VARIABLE):
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text)
        if match is None:
            raise ValueError(f"{VARIABLE} is {text!r}, expected a size such as 500GB; correct it")
        allowed = int(float(match[1]) * UNITS[match[2]])
    return min(allowed, int(free * DISK))


def refuse(packed: Path, size: int, allowed: int, *, at_least: bool) -> ValueError:
    """Return the error for a file that unpacks to more than is allowed."""
    return ValueError(
        f"{packed} ({packed.stat().st_size:,} bytes) unpacks to {'at least ' * at_least}{size:,} bytes, the limit is "
        f"{allowed:,}: {RATIO} times its size or {ALWAYS:,}, and {DISK:.0%} of the free disk; if you trust the file, "
        f"set the environment variable {VARIABLE} to a size such as 500GB and check the free disk space"
    )
