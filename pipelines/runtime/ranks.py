"""Run a stage as several processes of torch.distributed: torchrun starts them, each finds here which one it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from models.compute.distributed import Ranks


def launched() -> bool:
    """Whether torchrun, or whatever sets its variables, has started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def launch(module: str, world_size: int) -> None:
    """Run `python -m module` as `world_size` processes on this machine, which share its cores.

    On several machines, start the stage by torchrun instead. Raises ValueError where a process fails; it has said why.
    """
    threads = max(1, torch.get_num_threads() // world_size)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, "-m", module], env=environment, check=False)
    if done.returncode:
        raise ValueError(
            f"one of {world_size} processes of {module} failed with exit status {done.returncode}; what it said is "
            "above; with world_size 1 the stage runs alone"
        )


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """This process among those that torchrun started, and its own device; alone where it was started otherwise."""
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
