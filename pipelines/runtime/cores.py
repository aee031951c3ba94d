"""Number of threads of a stage: the processors that it may use, shared with the other stages on this machine.

A running stage binds one of NAMES, abstract Unix sockets: the kernel frees a name with its process, also after SIGKILL,
and names are common to all users and checkouts of a machine. Containers without a common network do not see each
other's; their CPU quotas limit them.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

import psutil

from pipelines.runtime import cgroup

NAMES = [f"\0longtail-stage-{number}" for number in range(64)]
MEMORY = 4e9  # bytes per stage, as memory_limit of the first stages
VARIABLE = "OMP_NUM_THREADS"
OTHERS = ("MKL_NUM_THREADS", "RAYON_NUM_THREADS")  # torch, PyArrow and faiss read VARIABLE
OPENBLAS = "OPENBLAS_NUM_THREADS"


class Claim:
    """Place of this process among the running stages; without one it is counted only by itself."""

    held: socket.socket | None = None
    follows: bool = False  # threads change with the number of stages


def claim() -> None:
    """Join the running stages, and limit the threads of libraries that are loaded later, and of child processes.

    A number of threads in the environment is kept. NumPy has one thread, as in the service: its decompositions round
    differently by the number of threads.
    """
    os.environ.setdefault(OPENBLAS, "1")
    if "LOCAL_RANK" in os.environ:  # the process that started the ranks has joined for them
        return
    Claim.held = bound()
    if VARIABLE in os.environ:
        return
    Claim.follows = True
    number = str(share())
    for name in (VARIABLE, *OTHERS):
        os.environ.setdefault(name, number)


def threads() -> int:
    """Return the number of threads that this process may use now."""
    if not Claim.follows and (number := explicit(os.environ.get(VARIABLE, ""))):
        return number
    return share()


def follow() -> None:
    """Use as many threads in torch from now on as the number of running stages leaves."""
    torch = sys.modules.get("torch")
    if Claim.follows and torch is not None and torch.get_num_threads() != (number := threads()):
        torch.set_num_threads(number)


def share() -> int:
    """Return the processors available, divided by the number of running stages; at least 1."""
    return max(1, available() // max(1, running()))


def available() -> int:
    """Return the number of processors that this process may use, by affinity and CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = cgroup.processors()
    return cores if quota is None else max(1, min(cores, int(quota)))


def stages() -> int:
    """Return the number of stages that this machine can run at the same time, by processors and memory; at least 1."""
    limit = cgroup.memory()
    memory = psutil.virtual_memory().total if limit is None else min(limit, psutil.virtual_memory().total)
    return max(1, min(available(), round(float(memory) / MEMORY)))


def explicit(text: str) -> int | None:
    """Return the first number of OMP_NUM_THREADS, which may list several; None if it is not a positive number."""
    with suppress(ValueError):
        return number if (number := int(text.split(",")[0])) > 0 else None
    return None


def running() -> int:
    """Return the number of running stages, this one included."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return sum(probe.connect_ex(name) == 0 for name in NAMES)


def bound() -> socket.socket | None:
    """Return a socket with a name that no other process holds; None if there is none."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for name in NAMES:
        with suppress(OSError):
            held.bind(name)
            return held
    held.close()
    return None
