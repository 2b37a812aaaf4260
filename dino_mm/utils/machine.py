"""What this machine has."""

import os
from dataclasses import dataclass

import torch

from .launch import own_cores
from .precision import best_amp_dtype

GIGABYTE = 1024**3


@dataclass(frozen=True)
class Machine:
    """A machine, as far as a recipe depends on it.

    Attributes:
        cores: That this process computes or reads images with.
        memory: Main memory in GB, of which a task of a cluster may have a part.
        dtype: Type to compute in: ``'bfloat16'``, ``'float16'`` or ``'float32'``.
        gpu: Name of the GPU, if there is one.
        gpu_memory: Its memory in GB.
    """

    cores: int
    memory: float
    dtype: str = 'float32'
    gpu: str | None = None
    gpu_memory: float = 0.0

    def __str__(self) -> str:
        cores = '1 core' if self.cores == 1 else f'{self.cores} cores'
        kind = f'{cores}, {self.memory:.0f} GB of memory'
        gpu = f'{self.gpu} with {self.gpu_memory:.0f} GB' if self.gpu else 'no GPU'
        return f'{kind}, {gpu}, computing in {self.dtype}'


def main_memory() -> float:
    """GB of main memory: that of the machine, or what a container or cluster leaves of it."""
    total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    for file in ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'):
        if os.path.exists(file):
            with open(file) as opened:
                limit = opened.read().strip()
            total = min(total, int(limit)) if limit.isdigit() else total
    return total / GIGABYTE


def this_machine() -> Machine:
    """Looks at the machine that this process runs on."""
    has_gpu = torch.cuda.is_available()
    properties = torch.cuda.get_device_properties(0) if has_gpu else None
    return Machine(
        cores=own_cores() if has_gpu else min(own_cores(), torch.get_num_threads()),
        memory=main_memory(),
        dtype=best_amp_dtype() or 'float32',
        gpu=properties.name if properties else None,
        gpu_memory=properties.total_memory / GIGABYTE if properties else 0.0,
    )
