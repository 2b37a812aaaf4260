"""What the Runner and its hooks take per iteration, beside the step itself."""

import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import Dataset

from dino_mm.registry import DATASETS

from . import harness
from .end_to_end import StretchLoop

CONFIG = Path(__file__).parents[3] / 'configs' / '_base_' / 'schedules' / 'dino_adamw_100e.py'
ITERATIONS = 200
MILLION = 1_000_000


@DATASETS.register_module()
class NoImages(Dataset):
    """As long as a long epoch; nothing is read from it."""

    metainfo: dict = {}

    def __len__(self) -> int:
        return MILLION


def idle_runner(work_dir: str, device: str, **changes) -> Runner:
    """The pretraining configs' Runner and hooks, set up, with a step that does nothing.

    Args:
        work_dir (str): Folder of its log.
        device (str): Where the losses lie.
        changes: What ``cfg.merge_from_dict`` takes.
    """
    cfg = Config.fromfile(CONFIG)
    cfg.model = dict(
        type='DINO',
        backbone=dict(
            type='VisionTransformer',
            arch=dict(embed_dims=8, num_layers=1, num_heads=1),
            img_size=16,
            patch_size=8,
        ),
        head=dict(type='DINOHead', in_dim=8, out_dim=8, hidden_dim=8, bottleneck_dim=8),
        loss=dict(type='DINOLoss'),
    )
    cfg.train_dataloader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='NoImages'),
    )
    cfg.train_cfg = dict(type=StretchLoop.__name__, max_epochs=2)
    cfg.param_scheduler.warmup = 1
    for name in ('report', 'interrupt'):  # which end a run, and begin it with an evaluation
        cfg.default_hooks.pop(name)
    cfg.update(work_dir=work_dir, experiment_name=uuid.uuid4().hex, log_level='WARNING')
    cfg.merge_from_dict(changes)
    runner = Runner.from_cfg(cfg)
    outputs = {
        name: torch.tensor(1.0, device=device)
        for name in ('loss', 'teacher_entropy', 'teacher_student_kl')
    }
    runner.model.train_step = lambda *_, **__: outputs
    runner.train()
    return runner


def per_iteration(runner: Runner, iterations: int) -> harness.Variant:
    """Milliseconds of one idle iteration."""

    def call() -> float:
        start = time.perf_counter()
        for _ in range(iterations):
            runner.train_loop.step((runner.iter, None))
        return 1000 * (time.perf_counter() - start) / iterations

    return call


def age(runner: Runner) -> None:
    """Gives every scalar the history of a million iterations."""
    for buffer in runner.message_hub.log_scalars.values():
        buffer._log_history, buffer._count_history = np.ones(MILLION), np.ones(MILLION)


def measure_overhead(device: str, repeats: int, iterations: int = ITERATIONS) -> dict:
    """Milliseconds per iteration: ``ours`` as the configs have it, ``plain`` with MMEngine's own
    hook for scalars, and both a million iterations later."""
    hooks = dict(ours={}, plain={'default_hooks.runtime_info': dict(type='RuntimeInfoHook')})
    variants, against = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, change in hooks.items():
            for later in ('', '_after_a_million'):
                runner = idle_runner(f'{folder}/{name}{later}', device, **change)
                variants[name + later] = per_iteration(runner, iterations)
                if later:
                    variants[name + later]()
                    age(runner)
                    against[name + later] = f'plain{later}'
        return harness.measure('runner', variants, device, repeats, unit='ms', against=against)
