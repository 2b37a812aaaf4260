"""Toy models and runs that the tests share."""

import copy
import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from PIL import Image

import dino_mm  # noqa: F401  fills the registries
from dino_mm.apis.train import build_runner

DATA = Path(__file__).parent / 'data'
TOOLS = Path(__file__).parent.parent / 'tools'

# Processes of pytest-xdist share the cores.
torch.set_num_threads(1 if 'PYTEST_XDIST_WORKER' in os.environ else 2)

TOY_MODEL = dict(
    type='DINO',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=24, num_layers=2, num_heads=3),
        img_size=32,
        patch_size=8,
    ),
    neck=dict(type='ClassToken'),
    head=dict(type='DINOHead', in_dim=24, out_dim=32, hidden_dim=16, bottleneck_dim=8),
    loss=dict(type='DINOLoss'),
)


@pytest.fixture(autouse=True, scope='module')
def little_garbage_to_look_at() -> Iterator[None]:
    """MMEngine collects garbage for every data set that it builds, which takes the longer the more
    modules are imported; what exists before a file of tests is left out of that."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_globals_left() -> Iterator[None]:
    """MMEngine's current scope, logger and visualizer are those of the last runner built."""
    yield
    for kind in (DefaultScope, MMLogger, Visualizer):
        kind._instance_dict.clear()


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch) -> None:
    """Formatting a config by yapf takes longer than building and training a toy of it."""

    def text(cfg: Config) -> str:
        return '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items())

    monkeypatch.setattr(Config, 'pretty_text', property(text))


@pytest.fixture
def toy_model() -> dict:
    """Config of a DINO small enough for milliseconds."""
    return copy.deepcopy(TOY_MODEL)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Twelve images in nested folders, of several sizes."""
    rng = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / 'images' / f'part{index % 2}' / 'deep'
        folder.mkdir(parents=True, exist_ok=True)
        size = (40 + 3 * index, 64 - index, 3)
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(folder / f'{index:02d}.png')
    return tmp_path / 'images'


@pytest.fixture
def make_runner(tmp_path: Path, toy_model: dict, image_folder: Path):
    """Builds a Runner of the toy model on the image folder; keyword arguments are merged in."""

    def make(**changes) -> Runner:
        cfg = Config(
            dict(
                default_scope='dino_mm',
                work_dir=str(tmp_path / 'work'),
                experiment_name=uuid.uuid4().hex,
                log_level='WARNING',
                model=toy_model,
                train_dataloader=dict(
                    batch_size=4,
                    num_workers=0,
                    drop_last=True,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    collate_fn=dict(type='default_collate'),
                    dataset=dict(
                        type='UnlabelledImageFolder',
                        data_root=str(image_folder),
                        pipeline=[
                            dict(type='LoadImage'),
                            dict(type='DINOMultiCrop', global_size=32, local_size=16, num_local=2),
                        ],
                    ),
                ),
                optim_wrapper=dict(
                    type='DINOOptimWrapper',
                    constructor='DINOOptimWrapperConstructor',
                    optimizer=dict(type='AdamW', lr=0.01),
                    clip_grad=3.0,
                ),
                param_scheduler=dict(type='WarmupCosineLR', convert_to_iter_based=True),
                train_cfg=dict(type='ResumableTrainLoop', max_epochs=2),
                default_hooks=dict(
                    set_epoch=dict(type='ProgressHook'),
                    strict_load=dict(type='StrictLoadHook'),
                    weight_decay=dict(type='WeightDecayHook'),
                    ema=dict(type='EMAHook', momentum=0.9),
                ),
                randomness=dict(seed=0),
            )
        )
        cfg.merge_from_dict(changes)
        return build_runner(cfg)

    return make
