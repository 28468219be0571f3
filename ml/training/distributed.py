"""One process or many: a training runs alone, or once in each process that `torchrun` starts."""

from __future__ import annotations

import os
import sys

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy


def open_fabric() -> Fabric:
    """Fabric on one device or, under torchrun, as one of its processes: NCCL on GPUs, gloo on CPUs."""
    if not torch.distributed.is_torchelastic_launched():
        fabric = Fabric(accelerator="auto", devices=1)
    else:
        fabric = Fabric(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=int(os.environ["LOCAL_WORLD_SIZE"]),
            num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
            # A batch without words or regions leaves heads of the network unused.
            strategy=DDPStrategy(find_unused_parameters=True),
        )
    fabric.launch()
    return fabric


def leave_unless_first(fabric: Fabric) -> None:
    """End every process but the first: what follows a training (figures, checkpoint) is written once."""
    if not fabric.is_global_zero:
        sys.exit(0)
