"""Run a stage as several processes of torch.distributed: torchrun starts them, each gets its rank here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from models.compute.distributed import Ranks
from pipelines.runtime import cores


def launched() -> bool:
    """Return whether this process was started by torchrun, or with its variables set."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def launch(module: str, world_size: int) -> None:
    """Run `python -m module` as `world_size` processes on this machine, sharing its cores.

    On several machines, start the stage with torchrun instead. Raises ValueError if a process fails, after its error.
    """
    threads = max(1, cores.threads() // world_size)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, "-m", module], env=environment, check=False)
    if done.returncode:
        raise ValueError(
            f"one of {world_size} processes of {module} failed with exit status {done.returncode}; see its error "
            "above; with world_size 1 the stage runs as one process"
        )


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Yield this process's rank among those of torchrun, and its device; a single rank without torchrun."""
    if not launched():
        yield Ranks(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
