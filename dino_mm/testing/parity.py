"""Command line that holds this project against recordings of the published code."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size

from dino_mm.utils.launch import LAUNCHERS, prepare_launch, start_processes

from . import parity_evaluation, parity_trajectory

#: Per quantity the largest difference allowed and whether it is relative.
TOLERANCES = parity_trajectory.TOLERANCES | parity_evaluation.TOLERANCES


def check_recording(path: str, **trajectory) -> dict[str, float]:
    """Largest difference per quantity of a recording, whose kind its entries tell.

    Args:
        path (str): Trajectory or evaluation recording.
        trajectory: Options of :func:`dino_mm.testing.parity_trajectory.run_trajectory`.
    """
    if path.endswith('.npz'):
        with np.load(path, allow_pickle=False) as file:
            if 'crops/00/0' in file:
                return parity_trajectory.check_trajectory(path, **trajectory)
    return parity_evaluation.check_evaluation(path)


def beyond_tolerance(worst: dict[str, float]) -> list[str]:
    """Quantities whose difference is not within :data:`TOLERANCES`; NaN counts as beyond."""
    return [key for key, value in worst.items() if not value <= TOLERANCES[key][0]]


def format_table(worst: dict[str, float]) -> str:
    """The differences as a text table."""
    lines = [f'{"quantity":<26}{"largest difference":>20}{"tolerance":>12}']
    failed = beyond_tolerance(worst)
    for key, value in worst.items():
        bound, relative = TOLERANCES[key]
        kind = 'relative' if relative else 'absolute'
        verdict = 'BEYOND' if key in failed else 'ok'
        lines.append(f'{key:<26}{value:>20.2e}{bound:>12.0e}  {kind}  {verdict}')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of each recording; exits with 1 beyond tolerance."""
    parser = argparse.ArgumentParser(description='Hold recordings of the published code to ours.')
    parser.add_argument('recordings', nargs='+', help='recorded trajectories or evaluations')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='share the batches')
    args = parser.parse_args(arguments)
    cfg = Config()
    prepare_launch(cfg, args.launcher)
    start_processes(args.launcher)  # a Runner would start them later than they are counted
    torch.backends.cudnn.allow_tf32 = False  # recorded in full float32
    failed = False
    for path in args.recordings:
        worst = check_recording(path, world_size=get_world_size(), **cfg)
        failed |= bool(beyond_tolerance(worst))
        if get_rank() == 0:
            print(f'{path}\n{format_table(worst)}', flush=True)
    sys.exit(1 if failed else 0)
