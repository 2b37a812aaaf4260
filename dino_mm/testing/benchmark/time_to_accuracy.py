"""k-NN accuracy over time of several recipes, each of which gets the same time on this machine."""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook

from dino_mm.apis.train import build_runner
from dino_mm.evaluation.report import format_table, write_json
from dino_mm.utils.checks import check_number
from dino_mm.utils.launch import fit_loaders, prepare_launch
from dino_mm.utils.options import read_value
from dino_mm.visualization.figures import save_figure

from .harness import machine, versions

LABELS = Path(__file__).resolve().parents[3] / 'configs/_base_/evaluation/labels.py'
METRIC = 'knn/k20_top1'


class Stopwatch(Hook):
    """Notes the seconds of training before each evaluation; evaluations themselves do not count."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.history: list[tuple[float, float]] = []  # (seconds, percent)
        self.seconds = 0.0

    def before_train(self, runner) -> None:
        self.since = time.monotonic()

    def before_val(self, runner) -> None:
        self.seconds += time.monotonic() - self.since

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        if metrics:  # an evaluation was due
            self.history.append((round(self.seconds, 1), metrics[METRIC]))

    def after_val(self, runner) -> None:
        self.since = time.monotonic()


def accuracy_over_time(
    config: str, options: Mapping[str, object], args: argparse.Namespace, work_dir: Path
) -> list[tuple[float, float]]:
    """Trains by one recipe for ``args.minutes``.

    Args:
        config (str): The recipe.
        options (Mapping): Changes to it, by dotted keys.
        args (Namespace): The command line.
        work_dir (Path): Where the run is kept.

    Returns:
        list: Seconds of training and 20-NN accuracy in percent, of each evaluation.
    """
    cfg = Config.fromfile(config)
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        cfg.pop(key, None)
    cfg.merge_from_dict(Config.fromfile(LABELS).to_dict())
    cfg.merge_from_dict(
        {
            'train_dataloader.dataset.data_root': args.images,
            'val_dataloader.dataset.data_root': args.labels,
            'val_dataloader.dataset.size': args.size,
            'val_dataloader.num_workers': 0,
            'val_evaluator': [dict(type='KNNMetric', ks=(20,))],
            'val_cfg.evaluations': args.evaluations,
            'train_cfg.val_interval': 1,  # when the loop is asked, not when it evaluates
            'default_hooks.time_budget': dict(
                type='TimeBudgetHook', hours=args.minutes / 60, share=1.0
            ),
            **options,
        }
    )
    cfg.work_dir = str(work_dir)
    prepare_launch(cfg, 'none')
    fit_loaders(cfg)
    runner = build_runner(cfg)
    stopwatch = Stopwatch()
    runner.register_hook(stopwatch)
    runner.train()
    untrained = runner.message_hub.get_info('report_baselines')['untrained backbone']
    return [(0.0, untrained), *stopwatch.history]


def draw(histories: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """One line for each recipe."""
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axis = figure.subplots()
    for name, history in histories.items():
        seconds, accuracy = zip(*history, strict=True)
        axis.plot([s / 60 for s in seconds], accuracy, marker='o', label=name)
    axis.set(xlabel='minutes of training', ylabel='20-NN accuracy (percent)')
    axis.legend()
    save_figure(figure, path)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Trains by several recipes for the same time each, and draws their k-NN '
        'accuracy over time.'
    )
    parser.add_argument('images', help='folder to pretrain on')
    parser.add_argument('labels', help='labeled images, as of tools/pretrain.py --labels')
    parser.add_argument(
        '--recipe',
        action='append',
        nargs='+',
        required=True,
        metavar=('NAME', 'CONFIG'),
        help='name, config, and changes to it as KEY=VALUE; may be given several times',
    )
    parser.add_argument('--minutes', type=float, default=5.0, help='for each recipe (5)')
    parser.add_argument('--size', type=int, default=224, help='pixels of evaluated images (224)')
    parser.add_argument('--evaluations', type=int, default=5, help='of each recipe (5)')
    parser.add_argument('--threads', type=int, help="of PyTorch on the CPU (default: PyTorch's)")
    parser.add_argument('--work-dir', default='work_dirs/time_to_accuracy', help='of runs, results')
    args = parser.parse_args(arguments)
    check_number('--minutes', args.minutes, above=0)
    for recipe in args.recipe:
        if len(recipe) < 2 or not all('=' in change for change in recipe[2:]):
            parser.error(f'--recipe takes NAME CONFIG [KEY=VALUE ...], got {" ".join(recipe)}')
    return args


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    folder = Path(args.work_dir)
    result = dict(benchmark='time_to_accuracy', machine=machine(get_device()), versions=versions())
    result |= dict(minutes=args.minutes, unit='20-NN accuracy in percent by seconds', recipes={})
    for name, config, *changes in args.recipe:
        options = {key: read_value(text) for key, _, text in (c.partition('=') for c in changes)}
        history = accuracy_over_time(config, options, args, folder / name)
        result['recipes'][name] = history
        write_json(result, folder / 'time_to_accuracy.json')
        draw(result['recipes'], folder / 'time_to_accuracy.png')
    rows = [
        dict(recipe=name, start=history[0][1], end=history[-1][1], seconds=history[-1][0])
        for name, history in result['recipes'].items()
    ]
    print(f'\n20-NN accuracy in percent\n{format_table(rows)}')
    print(f'written to {folder}/time_to_accuracy.json and .png')
    return result
