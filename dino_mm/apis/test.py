"""Command line of testing: configs with a test loop."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from dino_mm.checkpoint import load_into, read_checkpoint
from dino_mm.checkpoint.infer import choose_normalization, normalization, stored_normalization
from dino_mm.checkpoint.loader import NETWORKS, read_weights
from dino_mm.utils.files import plain
from dino_mm.utils.launch import (
    LAUNCHERS,
    explain_empty_dataset,
    fit_loaders,
    prepare_launch,
    processes_that_end,
)
from dino_mm.utils.options import OptionsAction
from dino_mm.utils.wrappers import unwrap

from .config_check import check_top_level
from .train import build_runner


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint by a config.')
    parser.add_argument('config', help='config file with test_dataloader or val_dataloader')
    parser.add_argument(
        'checkpoint',
        help='checkpoint file; for a FeatureExtractor of any layout, or a published name',
    )
    parser.add_argument('--network', choices=NETWORKS, help='of a FeatureExtractor')
    parser.add_argument('--work-dir', help='folder of the log')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, help='overrides')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def only_extracts(cfg: Config) -> bool:
    """Whether the model is a bare backbone, which any checkpoint may fill."""
    return cfg.model.type.split('.')[-1] == 'FeatureExtractor'


def build_config(args: argparse.Namespace) -> Config:
    """The config of a command line; one without a test loop is tested by its validation loop.

    Raises:
        FileNotFoundError: No such checkpoint.
        ValueError: The config evaluates nothing, or has a key that nothing reads.
    """
    cfg = Config.fromfile(args.config)
    check_top_level(cfg, args.cfg_options or {})
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if cfg.get('test_dataloader') is None:
        if cfg.get('val_dataloader') is None:
            raise ValueError(f'{args.config} has neither test_dataloader nor val_dataloader')
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = dict()
    cfg.load_from, cfg.resume = None, False
    if not only_extracts(cfg):
        if not os.path.isfile(args.checkpoint):
            raise FileNotFoundError(f'{args.checkpoint}: no such checkpoint')
        cfg.load_from = args.checkpoint
        # MMEngine would leave at random what the file lacks.
        strict = dict(type='dino_mm.StrictLoadHook')
        cfg.default_hooks = dict(cfg.get('default_hooks') or {}, strict_load=strict)
    return cfg


def follow_normalization(model: ConfigDict, meta: Mapping[str, Any]) -> tuple[str, int]:
    """Normalizes images as the checkpoint was trained, unless the config says how.

    The config says how if its ``data_preprocessor`` has ``mean`` or ``std``, or is
    of another type than :class:`MultiCropDataPreprocessor`.

    Args:
        model (ConfigDict): Config of a FeatureExtractor, changed in place.
        meta (Mapping): Stored with the checkpoint.

    Returns:
        tuple: What to log of it and the level: a warning where config and checkpoint differ.
    """
    own = model.get('data_preprocessor') or {}
    kind = own.get('type', 'MultiCropDataPreprocessor').split('.')[-1]
    stored = stored_normalization(meta)
    if kind != 'MultiCropDataPreprocessor' or own.keys() & {'mean', 'std'}:
        text = f'Images are normalized as the config says: data_preprocessor={plain(own)}'
        if not stored or plain(stored) == plain(normalization(model)):
            return text, 20
        return f'{text}. The checkpoint was trained with {plain(stored)}', 30
    told, teller = choose_normalization(model, meta)
    if teller == 'default':
        return "Images are normalized by ImageNet's mean and standard deviation.", 20
    model.data_preprocessor = dict(own, **told)
    return f'Images are normalized as the {teller} says: {plain(told)}', 20


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = build_config(args)
    if only_extracts(cfg):
        weights = read_weights(args.checkpoint, args.network)
        normalized = follow_normalization(cfg.model, weights.meta)
    else:
        # MMEngine would run what the file names: refused here, before it does.
        read_checkpoint(cfg.load_from)
    prepare_launch(cfg, args.launcher)
    fit_loaders(cfg)
    runner = build_runner(cfg)
    if only_extracts(cfg):
        model = unwrap(runner.model)
        model.source = load_into(model.backbone, weights).source
        print_log(normalized[0], 'current', normalized[1])
    with processes_that_end(), explain_empty_dataset(cfg):
        return runner.test()
