"""Kills a training run again and again, resumes it, and compares its end with that of a run that
was left alone: python tests/kill_runs.py --kills 100.

A kill is SIGKILL at a random moment, or, with ``--at checkpoint`` or ``--at pointer``, while that
file is being written. The script fails if a resumed run fails, if more than the iterations since
the last checkpoint are lost, or if the weights at the end differ in a bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs/dino_vit-tiny_imagenette_1xb128.py'
NAMES = dict(checkpoint='.epoch_', pointer='.last_checkpoint')
#: Slows down writing, so that a kill finds a file half-written: what the process imports first.
SLOW = """
import os, time
_replace = os.replace
def replace(source, target):
    time.sleep(0.05)
    _replace(source, target)
os.replace = replace
"""


def options(images: Path, epochs: int) -> list[str]:
    """The smallest run that has everything."""
    return [
        *(f'train_dataloader.dataset.data_root={images}', 'train_dataloader.batch_size=8'),
        *('train_dataloader.num_workers=1', f'train_cfg.max_epochs={epochs}'),
        *('model.backbone.arch.num_layers=1', 'default_hooks.report=None'),
        *('default_hooks.checkpoint.interval=1', 'randomness.seed=0'),
    ]


def write_images(folder: Path, count: int = 32) -> None:
    """Images of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (56, 56, 3), np.uint8)).save(folder / f'{index}.png')


def start(work_dir: Path, images: Path, epochs: int, processes: int, slow: Path) -> tuple:
    """Starts or resumes the run; returns its process and its output."""
    script = [str(ROOT / 'tools/train.py'), str(CONFIG), '--resume', '--work-dir', str(work_dir)]
    launcher = [sys.executable]
    if processes > 1:
        launcher += ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}']
        launcher += ['--master_port', str(random.randint(20000, 60000))]
        script += ['--launcher', 'pytorch']
    output = open(work_dir.with_suffix('.out'), 'a+')  # noqa: SIM115, closed by the caller
    process = subprocess.Popen(
        [*launcher, *script, '--cfg-options', *options(images, epochs)],
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=f'{slow}:{ROOT}'),
    )
    return process, output


def wait_for(work_dir: Path, at: str, process: subprocess.Popen, seconds: float) -> None:
    """Waits for the moment to kill; or for the end of the run, if that is sooner."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end and (at == 'random' or any(work_dir.glob(f'{NAMES[at]}*'))):
            return
        time.sleep(0.005)


def progress_of(work_dir: Path) -> int:
    """The last iteration that was logged."""
    rows = [
        json.loads(line)
        for path in work_dir.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
        if line.endswith('}')
    ]
    return max((row.get('iter', 0) for row in rows), default=0)


def weights(work_dir: Path, epochs: int) -> dict[str, torch.Tensor]:
    path = work_dir / f'epoch_{epochs}.pth'
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def main(arguments: Sequence[str] | None = None) -> dict[str, int]:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--kills', type=int, default=100, help='(100)')
    parser.add_argument('--at', choices=('random', *NAMES), default='random', help='(random)')
    parser.add_argument('--processes', type=int, default=1, help='that train together (1)')
    parser.add_argument('--epochs', type=int, default=40, help='of a run (40)')
    parser.add_argument('--seconds', type=float, default=12, help='before a kill at most (12)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    counts = dict(kills=0, runs=0, failed_resumes=0, unequal_ends=0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / 'images')
        slow = folder / 'slow'
        slow.mkdir()
        (slow / 'sitecustomize.py').write_text(SLOW)
        settings = (folder / 'images', args.epochs, args.processes, slow)
        alone = folder / 'alone'
        process, output = start(alone, *settings)
        output.close()
        if process.wait():
            raise RuntimeError(alone.with_suffix('.out').read_text())
        expected = weights(alone, args.epochs)
        work_dir = folder / 'killed'
        while True:
            process, output = start(work_dir, *settings)
            if counts['kills'] < args.kills:
                wait_for(work_dir, args.at, process, random.uniform(0, args.seconds))
            killed = counts['kills'] < args.kills and process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
            failed = process.wait() != 0 and not killed
            output.close()
            if killed:
                counts['kills'] += 1
                print(f'kill {counts["kills"]} after iteration {progress_of(work_dir)}', flush=True)
                continue
            counts['runs'] += 1
            counts['failed_resumes'] += failed
            if failed:
                print(work_dir.with_suffix('.out').read_text()[-3000:], flush=True)
            else:
                found = weights(work_dir, args.epochs)
                counts['unequal_ends'] += any(not found[k].equal(v) for k, v in expected.items())
            if counts['kills'] == args.kills:
                break
            shutil.rmtree(work_dir)
    print(', '.join(f'{count} {name.replace("_", " ")}' for name, count in counts.items()))
    return counts


if __name__ == '__main__':
    found = main()
    sys.exit(bool(found['failed_resumes'] or found['unequal_ends']))
