"""One command from a folder of images to a backbone: look, choose a recipe, train."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from dino_mm.checkpoint.loader import backbone_config
from dino_mm.checkpoint.weights import read_weights
from dino_mm.datasets.labeled_images import bank_and_queries
from dino_mm.datasets.survey import survey_folder
from dino_mm.engine.work_dir import newest_checkpoint
from dino_mm.models import VisionTransformer
from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number
from dino_mm.utils.durations import format_duration
from dino_mm.utils.launch import fit_loaders, prepare_launch
from dino_mm.utils.machine import this_machine
from dino_mm.utils.options import OptionsAction

from .recipe import Recipe, Start, choose, evaluate_on
from .recipe_file import write_config
from .train import build_runner, follow_newest, owned

#: Hours that training takes if nobody says: without a GPU, and with one.
HOURS, GPU_HOURS = 1.0, 12.0


def say(text: str) -> None:
    """A line at once, also into a pipe."""
    print(text, flush=True)


def pretrain(
    folder: str,
    work_dir: str | None = None,
    hours: float | None = None,
    labels: str | None = None,
    init: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Pretrains a backbone on the images in a folder and returns where it is.

    What is chosen is written to ``recipe.py`` in the work dir, a config that ``tools/train.py``
    runs as well. Where the work dir holds a checkpoint, that run goes on by its own recipe.

    Args:
        folder (str): The images, at any depth; or a list of images.
        work_dir (str, optional): Where everything is written; ``work_dirs/pretrain_FOLDER``.
        hours (float, optional): Time that training may take; 1 without a GPU, 12 with one.
        labels (str, optional): Labeled images to evaluate on: a folder with class folders, or a
            list of paths and labels.
        init (str, optional): Checkpoint to start from: published DINO or DINOv2 weights, timm's, or
            ours; a file, an address or a published name.
        cfg_options (Mapping, optional): Changes to the recipe, by dotted keys.

    Raises:
        FileNotFoundError: No such folder, or no image in it.
        OSError: None of the images can be read.
        ValueError: Labels without classes, or an option out of range.
    """
    if hours is not None:
        check_number('--hours', hours, above=0)
    work_dir = work_dir or f'work_dirs/pretrain_{Path(os.path.abspath(folder)).stem}'
    path = Path(work_dir) / 'recipe.py'
    resume = path.exists() and newest_checkpoint(work_dir) is not None
    if resume:
        say(f'Going on with the run in {work_dir} (to start anew, give another --work-dir).')
    else:
        say(f'Looking at the images in {folder} ...')
        recipe = write_recipe(folder, path, hours, labels, init)
        for line in plan(recipe):
            say(line)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(cfg_options or {}))
    cfg.work_dir = work_dir
    if resume:
        follow_newest(cfg)
    prepare_launch(cfg, 'none')
    fit_loaders(cfg)
    with owned(cfg):
        build_runner(cfg).train()
    return Path(work_dir) / 'backbone.pth'


def write_recipe(
    folder: str,
    path: Path,
    hours: float | None = None,
    labels: str | None = None,
    init: str | None = None,
) -> Recipe:
    """Chooses a recipe for a folder on this machine, writes it, and says what it is based on."""
    machine = this_machine()
    hours = hours or (GPU_HOURS if machine.gpu else HOURS)
    survey = survey_folder(folder)
    for line in [*survey.lines(), str(machine)]:
        say(f'  {line}')
    start = read_start(init) if init else None
    recipe = choose(survey, machine, hours, os.path.abspath(folder), start)
    if labels:
        bank, queries = bank_and_queries(
            labels
        )  # is refused here, where it is a folder without labels
        say(f'  {len(bank) + len(queries):,} labeled images in {labels}')
        evaluate_on(recipe, os.path.abspath(labels))
    title = (
        f'Recipe for {survey.count:,} images in {folder}, chosen for {hours:g} h on '
        f'{machine}.\n\nEdit it as you like, and train by: python tools/train.py {path}'
    )
    write_config(recipe, title, path)
    say(f'Wrote {path}, a config with each choice and its reason.')
    return recipe


def read_start(checkpoint: str) -> Start:
    """What a recipe has to know of the weights it goes on from.

    Raises:
        CheckpointError: The file holds no backbone that is known.
        ValueError: The backbone is no vision transformer.
    """
    weights = read_weights(checkpoint)
    config = backbone_config(weights)
    backbone = MODELS.build(config)
    if not isinstance(backbone, VisionTransformer):
        raise ValueError(
            f'--init {checkpoint} holds a {type(backbone).__name__}: a recipe is chosen for vision '
            'transformers. For others set model.backbone.init_cfg in a config of your own'
        )
    return Start(
        checkpoint=os.path.abspath(checkpoint) if os.path.exists(checkpoint) else checkpoint,
        backbone=config,
        width=backbone.embed_dims,
        layers=backbone.num_layers,
        heads=backbone.blocks[0].attn.num_heads,
        patch=backbone.patch_size,
        size=min(backbone.grid) * backbone.patch_size,
    )


def plan(recipe: Recipe) -> list[str]:
    """What will happen, and what to expect."""
    return [
        f'Plan: train {recipe.network} for {recipe.epochs:,} epochs, {recipe.steps:,} iterations of '
        f'{recipe.batch} images, about {format_duration(recipe.seconds)} and {recipe.memory:.1f} GB '
        'of memory. The first iterations will tell the real figure.',
        *recipe.notes,
    ]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Pretrain a backbone on a folder of images, by a recipe that fits them.'
    )
    parser.add_argument('folder', help='images, at any depth; or a list of images')
    parser.add_argument(
        '--work-dir', help='where everything is written (work_dirs/pretrain_FOLDER)'
    )
    parser.add_argument(
        '--hours', type=float, help=f'time it may take ({HOURS:g}; with a GPU {GPU_HOURS:g})'
    )
    parser.add_argument('--labels', help='labeled images to evaluate on: class folders, or a list')
    parser.add_argument(
        '--init', help='checkpoint to start from: published DINO, DINOv2, timm, ours'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionsAction, help='changes to the recipe, key=value'
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    pretrain(**vars(parse_args(arguments)))
