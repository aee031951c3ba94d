"""dvc.lock and DVC's rwlock: a killed DVC can leave them empty, and then every later DVC fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.workspace import git

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")
SETTLED = 0.3  # seconds; an older file is not being written


def mend() -> Iterator[str]:
    """Restore or remove unreadable lock files, unless a DVC runs; yield a sentence about each."""
    if entries() is None:
        time.sleep(SETTLED)
    if holders():
        return
    if LOCK.exists() and not is_lock(LOCK.read_text("utf-8", "replace")):
        committed = committed_lock()
        if committed is None:
            LOCK.unlink()
        else:
            LOCK.write_bytes(committed)
        how = "removed; the next run writes it" if committed is None else "restored from the last commit"
        yield f"dvc.lock was unreadable: {how}"
    if RWLOCK.exists() and entries() is None:
        RWLOCK.unlink()
        yield f"{RWLOCK} was unreadable: removed"
    elif entries():  # DVC identifies processes by PID alone, which another process may have by now
        RWLOCK.unlink()
        yield f"{RWLOCK} was left by a killed DVC: removed"


def holders() -> str:
    """Return the live processes that hold DVC's locks, as text; empty if there are none."""
    held = entries()
    if not held:
        return ""
    alive = {info["pid"]: info["cmd"] for info in held if has_written(info["pid"])}
    return ", ".join(f"{command}, process {pid}" for pid, command in sorted(alive.items()))


def entries() -> list[dict[str, Any]] | None:
    """Return the entries of the rwlock, one per holder; None if it cannot be read."""
    try:
        held = json.loads(RWLOCK.read_text("utf-8"))
        writers, readers = held.get("write", {}).values(), held.get("read", {}).values()
        return [
            {"pid": int(info["pid"]), "cmd": info["cmd"]} for info in [*writers, *(i for of in readers for i in of)]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def has_written(pid: int) -> bool:
    """Return whether a process is older than the rwlock, and so may have written it."""
    try:
        return bool(psutil.Process(pid).create_time() <= RWLOCK.stat().st_mtime + 1)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def is_lock(text: str) -> bool:
    """Return whether DVC can read this dvc.lock; a truncated one may still be valid YAML."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # takes a fifth of a second
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
    except (YAMLError, Invalid):
        return False
    return True


def committed_lock() -> bytes | None:
    try:
        content = git.read_file("HEAD", LOCK.name)
    except git.GitError:
        return None
    return content if is_lock(content.decode("utf-8", "replace")) else None
