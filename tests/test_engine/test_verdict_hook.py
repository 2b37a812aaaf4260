"""Runs made to fail each way, and what is said of them."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dino_mm.engine.hooks.verdict_hook import Evidence, VerdictHook
from dino_mm.evaluation.functional import (
    effective_rank,
    mean_cosine,
    paired_cosine,
    self_retrieval,
)

STEPS = 25


def test_effective_rank() -> None:
    line = torch.arange(8.0)[:, None] * torch.tensor([[1.0, 2.0, 3.0]]) + 5
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    corners = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(corners + 7) == pytest.approx(4, rel=1e-4)
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-3)
    assert math.isnan(effective_rank(torch.full((5, 3), torch.nan)))


def test_cosines() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert mean_cosine(x) == pytest.approx(1 / 3)
    assert mean_cosine(torch.ones(4, 3)) == pytest.approx(1)
    assert paired_cosine(x, x.flip(1)) == pytest.approx(0)


def test_self_retrieval() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert self_retrieval(x, x) == 100
    assert self_retrieval(x, x.roll(1, dims=0)) == 0
    assert self_retrieval(torch.ones(6, 4), torch.ones(6, 4)) == 0


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    """Sixteen images that differ: colored gratings."""
    folder = tmp_path_factory.mktemp('gratings')
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40] / 40
    for index in range(16):
        wave = np.sin(rng.uniform(5, 40) * rows + rng.uniform(5, 40) * columns)
        color = rng.uniform(0, 127, 3)
        pixels = 128 + wave[..., None] * color
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index:02d}.png')
    return folder


CODING_RATE = {'model.objectives': dict(coding_rate=dict(type='CodingRateLoss'))}
WAYS = {
    'learning': CODING_RATE,
    'plateau (outputs of different images are': {'optim_wrapper.optimizer.lr': 3e-3},
    'collapsed (The teacher answers every image with one prototype': {
        'model.loss.teacher_temp': 1e-4,
        'model.loss.warmup_teacher_temp': 1e-4,
        'model.loss.center_momentum': 1.0,
        'model.loss.student_temp': 0.01,
    },
    'collapsed (The teacher prefers no prototype': CODING_RATE
    | {'model.loss.teacher_temp': 50.0, 'model.loss.warmup_teacher_temp': 50.0},
    'standing still': CODING_RATE | {'default_hooks.ema.momentum': 1.0},
    'diverging (the weights have grown': CODING_RATE | {'optim_wrapper.optimizer.lr': 10.0},
    'diverging (the loss is nan': CODING_RATE | {'optim_wrapper.optimizer.lr': 1e30},
}


@pytest.mark.parametrize('verdict', WAYS)
def test_verdicts(make_runner, photos, verdict) -> None:
    runner = make_runner(
        **{
            'model.backbone.weight_init': 'xavier',
            'model.head.hidden_dim': 64,
            'model.head.bottleneck_dim': 32,
            'optim_wrapper.optimizer.lr': 1e-3,
            'param_scheduler.warmup': '20%',
            'train_cfg.max_epochs': STEPS,  # of one step
            'train_dataloader.batch_size': 16,
            'train_dataloader.dataset.data_root': str(photos),
            'default_hooks.logger': dict(type='TimedLoggerHook', interval=1),
            'default_hooks.checkpoint': dict(type='CheckpointHook', interval=STEPS),
            'default_hooks.verdict': dict(type='VerdictHook'),
            'log_processor': dict(type='PlainLogProcessor'),
            'log_level': 'INFO',
        }
        | copy.deepcopy(WAYS[verdict])
    )
    runner.train()
    log = Path(runner.logger.log_file).read_text()
    lines = [line for line in log.splitlines() if '  step ' in line]
    assert len(lines) == STEPS, log
    assert lines[0].endswith('starting'), log
    assert f'  {verdict}' in lines[-1], log
    scalars = runner.message_hub.log_scalars
    assert {
        'train/effective_rank',
        'train/cosine_different',
        'train/self_retrieval',
        'train/features_effective_rank',
        'train/features_cosine_different',
    } <= set(scalars)


GOOD = Evidence(iteration=100, alike=0.1, same=0.5, rank=9, loss=3.0, growth=1.5)


@pytest.mark.parametrize(
    'change, verdict',
    [
        (dict(), 'learning (two crops of one image are 50 % alike, different images 10 %)'),
        (dict(iteration=19), 'starting'),
        (dict(alike=0.97, same=0.98), 'plateau (outputs of different images are 97 % alike'),
        (dict(alike=0.99999, same=1.0), 'collapsed (the outputs of all images are the same'),
        (
            dict(alike=0.97, same=0.98, spread=True),
            'plateau (outputs of different images are 97 % alike: lower optim_wrapper.optimizer.lr',
        ),
        (dict(rank=1.5), 'plateau (the outputs of all images lie on a line'),
        (dict(same=0.11), 'plateau (two crops of one image are no more alike than different'),
        (dict(loss=math.nan), 'diverging (the loss is nan'),
        (dict(growth=math.nan), 'diverging (the weights'),
        (dict(still=True), 'standing still'),
    ],
)
def test_verdict_of_evidence(change: dict, verdict: str) -> None:
    assert VerdictHook().verdict(replace(GOOD, **change)).startswith(verdict)
