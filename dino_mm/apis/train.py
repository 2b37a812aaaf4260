"""Command line of training: OpenMMLab's options."""

import argparse
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from dino_mm.checkpoint import read_checkpoint
from dino_mm.engine.screen import PlainRunner
from dino_mm.utils.launch import (
    LAUNCHERS,
    enable_amp,
    explain_empty_dataset,
    fit_loaders,
    prepare_launch,
    processes_that_end,
    refuse_sharding,
)
from dino_mm.utils.options import OptionsAction
from dino_mm.utils.quiet import quiet_imports

from .config_check import check_keys, check_top_level
from .trial import shrink

#: Default hooks of MMEngine's Runner, which are there unless a config sets them to ``None``.
RUNNER_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train by a config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of checkpoints, logs and pictures')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on with the given checkpoint, or with the latest one in the work dir',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 where the hardware has it, else float16 on a GPU',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size (pretraining configs always do)',
    )
    parser.add_argument(
        '--trial',
        action='store_true',
        help='shrink the config to a run of minutes: 2 epochs of 4 iterations of 4 images',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        help='overrides, as in optim_wrapper.optimizer.lr=1e-3 model.head.out_dim=4096',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def build_config(args: argparse.Namespace) -> Config:
    """The config of a command line.

    Raises:
        ValueError: ``--auto-scale-lr`` without ``auto_scale_lr`` in the config, or a key that
            nothing reads.
    """
    cfg = Config.fromfile(args.config)
    check_top_level(cfg, args.cfg_options or {})
    if args.trial:
        shrink(cfg, int(os.environ.get(LAUNCHERS[args.launcher] or '', 1)))
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                f'--auto-scale-lr: {args.config} lacks auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:  # else a job that is to be requeued starts from what the config loads
            cfg.load_from = None
    elif args.resume is not None:
        if not os.path.isfile(args.resume):
            raise FileNotFoundError(f'--resume {args.resume}: no such checkpoint')
        cfg.update(resume=True, load_from=args.resume)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """MMEngine's Runner with a plain screen, or the one that ``cfg.runner_type`` names.

    Where mmcv has no compiled operators, those of detection configs are answered by torchvision.
    """
    refuse_sharding(cfg)
    if cfg.get('default_scope') == 'mmdet':
        importlib.import_module('dino_mm.ops')
    with quiet_imports():  # of the packages that the config names
        check_keys(cfg)
    # MMEngine knows None as "without this hook" for its own six hooks only.
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = {
        name: hook for name, hook in hooks.items() if hook is not None or name in RUNNER_HOOKS
    }
    return RUNNERS.build(cfg) if 'runner_type' in cfg else PlainRunner.from_cfg(cfg)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = build_config(args)
    if os.path.isfile(cfg.get('load_from') or ''):
        # MMEngine would run what the file names: refused here, before it does.
        read_checkpoint(cfg.load_from)
    prepare_launch(cfg, args.launcher)
    fit_loaders(cfg)
    runner = build_runner(cfg)
    with processes_that_end(), explain_empty_dataset(cfg):
        runner.train()
