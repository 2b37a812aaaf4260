"""Command line of training: OpenMMLab's options."""

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from dino_mm.engine.runner import PlainRunner
from dino_mm.engine.work_dir import (
    locked,
    newest_checkpoint,
    refuse_to_overwrite,
    remove_checkpoints,
)
from dino_mm.utils.launch import (
    LAUNCHERS,
    enable_amp,
    explain_empty_dataset,
    fit_loaders,
    own_rank,
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
        help='go on with the given checkpoint, or with the newest whole one in the work dir',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start anew where the work dir holds a run, and remove its checkpoints',
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
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                f'--auto-scale-lr: {args.config} lacks auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        cfg.resume = False
        follow_newest(cfg)  # else a job that is to be requeued starts from what the config loads
    elif args.resume is not None:
        if not os.path.isfile(args.resume):
            raise FileNotFoundError(f'--resume {args.resume}: no such checkpoint')
        cfg.update(resume=True, load_from=args.resume)
    return cfg


def default_work_dir(args: argparse.Namespace) -> str:
    """A folder by the name of the config; trials have one of their own."""
    return f'work_dirs/{Path(args.config).stem}{"_trial" if args.trial else ""}'


def follow_newest(cfg: Config) -> None:
    """Makes a config go on from the newest whole checkpoint in its work dir, if there is one, and
    says which newer files are damaged."""
    found = newest_checkpoint(cfg.work_dir)
    if found is not None:
        for fault in found.passed_over:
            print(f'Passed over: {fault}.', file=sys.stderr, flush=True)
        print(f'Going on from {found.path}, iteration {found.iteration:,}.', flush=True)
        cfg.update(resume=True, load_from=str(found.path))


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


@contextmanager
def owned(cfg: Config, anew: bool = False) -> Iterator[None]:
    """The work dir for this run alone, by the first of its processes.

    Args:
        cfg (Config): Of the run; a run that is not resumed must not find checkpoints.
        anew (bool): Remove them instead.

    Raises:
        BlockingIOError: Another run writes there.
        FileExistsError: There are checkpoints, and the run neither resumes nor begins anew.
    """
    if own_rank(cfg.launcher):
        yield
        return
    with locked(cfg.work_dir):
        if not cfg.get('resume'):
            (remove_checkpoints if anew else refuse_to_overwrite)(cfg.work_dir)
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = build_config(args)
    prepare_launch(cfg, args.launcher)
    fit_loaders(cfg)
    own_trial = args.trial and cfg.work_dir == default_work_dir(args)
    with owned(cfg, anew=args.overwrite or own_trial):
        runner = build_runner(cfg)
        with processes_that_end(), explain_empty_dataset(cfg):
            runner.train()
