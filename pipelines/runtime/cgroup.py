"""Limits of this process's control groups: processors and memory, in the hierarchies of version 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60  # version 1 writes "no limit" as a number near 2^63


def processors(root: Path = Path("/")) -> float | None:
    """Return the smallest CPU quota of the process's group and its parents, in processors; None without one.

    root: folder with `proc` and `sys`.
    """
    quotas = [quota for folder in folders(root, "cpu") if (quota := cpu_quota(folder)) is not None]
    return min(quotas, default=None)


def memory(root: Path = Path("/")) -> int | None:
    """Return the smallest memory limit of the process's group and its parents, in bytes; None without one."""
    limits = []
    for folder in folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [limit for limit in numbers(folder / name)[:1] if 0 < limit < UNLIMITED]
    return min(limits, default=None)


def cpu_quota(folder: Path) -> float | None:
    """Return the quota of one group: `cpu.max` of version 2, or `cpu.cfs_quota_us` of version 1."""
    match numbers(folder / "cpu.max"), numbers(folder / "cpu.cfs_quota_us"), numbers(folder / "cpu.cfs_period_us"):
        case ([quota, period], _, _) | (_, [quota], [period]) if quota > 0 and period > 0:
            return quota / period
    return None


def numbers(path: Path) -> list[int]:
    """Return the numbers in a file; none if it is missing, or holds "max" or other text."""
    try:
        return [int(word) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's group and its parents in the hierarchies that limit by a controller.

    In a container the group's path may be that of the host, which does not exist inside; the mounted folder does.
    """
    for mount, inside, kinds in mounts(root):
        if controller not in kinds and kinds != {""}:
            continue
        for group in groups(root, kinds & {controller, ""}):
            relative = group.relative_to(inside) if group.is_relative_to(inside) else group.relative_to("/")
            folder = mount / relative
            yield folder
            while folder != mount:
                folder = folder.parent
                yield folder


def groups(root: Path, kinds: set[str]) -> Iterator[Path]:
    """Yield the process's groups in hierarchies of these controllers; "" is the hierarchy of version 2."""
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if kinds & set(controllers.split(",")):
            yield Path(group)


def mounts(root: Path) -> Iterator[tuple[Path, Path, set[str]]]:
    """Yield the mounted hierarchies: folder, group that is its top, and controllers, {""} for version 2."""
    for line in lines(root / "proc/self/mountinfo"):
        place, _, source = line.partition(" - ")
        inside, folder = place.split()[3:5]
        kind, _, options = source.split(maxsplit=2)
        if kind == "cgroup2":
            yield root / folder.lstrip("/"), Path(inside), {""}
        elif kind == "cgroup":
            yield root / folder.lstrip("/"), Path(inside), set(options.split(","))


def lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
