"""The two files that a killed DVC can leave empty and that block every later one: dvc.lock and its rwlock."""

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
SETTLED = 0.3  # seconds after which nobody is just writing it


def mend() -> Iterator[str]:
    """Restore or remove what cannot be read, unless a DVC is at work; yields what was done, in words."""
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
        yield f"dvc.lock was unreadable and is {how}"
    if RWLOCK.exists() and entries() is None:
        RWLOCK.unlink()
        yield f"{RWLOCK} was unreadable and is removed"
    elif entries():  # DVC goes by the number of a process alone, and another one may bear it by now
        RWLOCK.unlink()
        yield f"{RWLOCK}, which a killed DVC left, is removed"


def holders() -> str:
    """The live processes that hold DVC's locks, in words."""
    held = entries()
    if not held:
        return ""
    alive = {info["pid"]: info["cmd"] for info in held if has_written(info["pid"])}
    return ", ".join(f"{command}, process {pid}" for pid, command in sorted(alive.items()))


def entries() -> list[dict[str, Any]] | None:
    """Who holds what by the rwlock; None where it cannot be read."""
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
    """Whether a process has been there since before the rwlock was written."""
    try:
        return bool(psutil.Process(pid).create_time() <= RWLOCK.stat().st_mtime + 1)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def is_lock(text: str) -> bool:
    """Whether DVC could read this dvc.lock; one that was cut short may be YAML all the same."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # a fifth of a second
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
