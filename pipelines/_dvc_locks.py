"""The two files that a killed DVC can leave empty and that block every later one: dvc.lock and its rwlock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines import _git

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")


def mend() -> Iterator[str]:
    """Restore or remove what cannot be read, unless a DVC is at work; yields what was done, in words."""
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
    if RWLOCK.exists() and not is_json(RWLOCK):
        RWLOCK.unlink()
        yield f"{RWLOCK} was unreadable and is removed"


def holders() -> str:
    """The live processes that hold DVC's locks, in words."""
    try:
        held = json.loads(RWLOCK.read_text("utf-8"))
        infos = [*held["write"].values(), *(info for infos in held["read"].values() for info in infos)]
        alive = {info["pid"]: info["cmd"] for info in infos if psutil.pid_exists(info["pid"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ", ".join(f"{command}, process {pid}" for pid, command in sorted(alive.items()))


def is_lock(text: str) -> bool:
    """Whether DVC could read this dvc.lock; one that was cut short may be YAML all the same."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # a fifth of a second
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
    except (YAMLError, Invalid):
        return False
    return True


def is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text("utf-8")), dict)
    except ValueError:
        return False


def committed_lock() -> bytes | None:
    try:
        content = _git.read_file("HEAD", LOCK.name)
    except _git.GitError:
        return None
    return content if is_lock(content.decode("utf-8", "replace")) else None
