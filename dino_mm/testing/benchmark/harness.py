"""Times named variants side by side in one process, and reports them in one form."""

import argparse
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import mmengine
import torch
import torchvision
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from dino_mm.evaluation.report import format_table, write_json
from dino_mm.version import __version__

os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler greets on stderr

MIB = 2**20

#: Does the work once. What it returns, if anything, stands in place of the time it took.
Variant = Callable[[], float | None]


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda or cuda:1 (default: a GPU where there is one)',
    )
    parser.add_argument('--repeats', type=int, help='timed calls of each variant')
    parser.add_argument('--threads', type=int, help="of PyTorch on the CPU (default: PyTorch's)")
    parser.add_argument(
        '--short',
        action='store_true',
        help='only `ours`, without compiling, and `plain`: seconds',
    )
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument(
        '--reference',
        metavar='PATH',
        help='folder of the published code (github.com/facebookresearch/dino), timed beside',
    )
    return parser


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
    repeats: tuple[int, int] = (7, 3),
) -> argparse.Namespace:
    """Reads the command line and sets the number of threads.

    Args:
        parser (ArgumentParser): What :func:`parser` makes.
        arguments (Sequence[str], optional): Instead of the command line.
        repeats (tuple): How many where the command line does not say, and with ``--short``.
    """
    args = parser.parse_args(arguments)
    args.repeats = args.repeats or repeats[args.short]
    if args.threads:
        torch.set_num_threads(args.threads)
    if index := torch.device(args.device).index:  # what is waited for, and the Runner trains on
        torch.cuda.set_device(index)
    return args


def import_reference(path: str, module: str) -> ModuleType:
    """A module of the published code.

    Raises:
        FileNotFoundError: The folder does not hold it.
    """
    if not (Path(path) / f'{module}.py').is_file():
        raise FileNotFoundError(
            f'--reference {path} holds no {module}.py: give a checkout of facebookresearch/dino'
        )
    sys.modules.pop(module, None)  # of another checkout
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(path))


def machine(device: str) -> dict:
    """What a figure depends on besides the code."""
    facts = dict(
        cpu=_cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        load_average=round(os.getloadavg()[0], 2),  # of others too: a quiet machine starts near 0
        device=device,
    )
    if torch.device(device).type == 'cuda':
        facts['gpu'] = torch.cuda.get_device_name(device)
    return facts


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    names = (
        [line for line in info.read_text().splitlines() if line.startswith('model name')]
        if info.exists()
        else []
    )
    return names[0].split(':')[1].strip() if names else platform.processor()


def versions() -> dict:
    return dict(
        dino_mm=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        mmengine=mmengine.__version__,
    )


def timed(call: Variant, device: str) -> tuple[float, float | None]:
    """Seconds until the device is done, and what the call returned."""
    cuda = torch.device(device).type == 'cuda'
    if cuda:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    value = call()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, value


def peak_memory(call: Variant, device: str) -> float:
    """MiB of tensors that a call holds at its peak above what was allocated before it.

    By PyTorch's allocators. What other libraries take (scratch space of matrix products on CPU,
    Pillow's images) is not seen.
    """
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == '[memory]']
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / MIB


def measure(
    benchmark: str,
    variants: Mapping[str, Variant],
    device: str,
    repeats: int,
    items: int | None = None,
    unit: str | None = None,
    against: Mapping[str, str] | None = None,
    memory: Mapping[str, float] | None = None,
    compare_memory: bool = True,
) -> dict:
    """Runs every variant once to warm up, once for its memory, then in turns for its time.

    Args:
        benchmark (str): Name.
        variants (Mapping[str, Variant]): What to time; ``plain`` is what others are held against.
        device (str): Where the work is done.
        repeats (int): Timed calls of each variant.
        items (int, optional): Images a call works on: figures are then images per second, else
            milliseconds.
        unit (str, optional): Of the values that variants return themselves; one that ends in
            ``/s`` counts as better the larger.
        against (Mapping[str, str], optional): Variants that are held against another one than
            ``plain``.
        memory (Mapping[str, float], optional): MiB that variants hold before their call (weights,
            moments) and that count as theirs.
        compare_memory (bool): Whether ratios of memory say something: not where most of it is
            beyond what :func:`peak_memory` sees.

    Returns:
        dict: ``benchmark``, ``machine``, ``versions``, ``variants`` with median, min, max, unit
        and ``peak_memory_mib``, and ``ratios`` ``A_over_B`` and ``memory_A_over_B``, above 1 where
        A is better than B.
    """
    unit = unit or ('images/s' if items else 'ms')
    result = dict(benchmark=benchmark, machine=machine(device), versions=versions())
    bar = tqdm(total=(2 + repeats) * len(variants), desc=benchmark, unit='call')
    warm_up, peaks = {}, {}
    for name, call in variants.items():
        bar.set_postfix_str(f'{name}: warm-up')
        warm_up[name] = timed(call, device)[0]
        bar.update()
        bar.set_postfix_str(f'{name}: memory')
        peaks[name] = peak_memory(call, device) + (memory or {}).get(name, 0)
        bar.update()
    values: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, call in variants.items():  # in turns: what else runs here disturbs all alike
            bar.set_postfix_str(name)
            seconds, value = timed(call, device)
            if value is None:
                value = items / seconds if items else 1000 * seconds
            values[name].append(value)
            bar.update()
    bar.close()
    result['variants'] = {
        name: dict(
            median=statistics.median(found),
            min=min(found),
            max=max(found),
            unit=unit,
            peak_memory_mib=round(peaks[name], 2),
        )
        for name, found in values.items()
    }
    result['ratios'] = ratios(result['variants'], against or {}, compare_memory)
    _print(result, warm_up)
    return result


def ratios(
    variants: Mapping[str, dict], against: Mapping[str, str], compare_memory: bool = True
) -> dict[str, float]:
    """How much better each variant is than its baseline, where both were measured."""
    found = {}
    for name, figures in variants.items():
        baseline = against.get(name, 'plain')
        if name == baseline or baseline not in variants:
            continue
        base = variants[baseline]
        speed = figures['median'] / base['median']
        found[f'{name}_over_{baseline}'] = speed if figures['unit'].endswith('/s') else 1 / speed
        if compare_memory and figures['peak_memory_mib'] > 0 and base['peak_memory_mib'] > 0:
            found[f'memory_{name}_over_{baseline}'] = (
                base['peak_memory_mib'] / figures['peak_memory_mib']
            )
    return found


def _print(result: dict, warm_up: Mapping[str, float]) -> None:
    rows = [
        {
            'variant': name,
            'unit': figures['unit'],
            'median': figures['median'],
            'min': figures['min'],
            'max': figures['max'],
            'peak MiB': figures['peak_memory_mib'],
            'warm-up s': warm_up[name],
        }
        for name, figures in result['variants'].items()
    ]
    facts = ', '.join(f'{key} {value}' for key, value in result['machine'].items())
    print(f'\n{result["benchmark"]} ({facts})\n{format_table(rows)}')


def finish(result: dict, out: str | None) -> dict:
    """Prints the ratios and writes the JSON file, if one is wanted; returns the result."""
    for name, ratio in result['ratios'].items():
        print(f'{name}: {ratio:.2f}')
    if out:
        write_json(result, out)
        print(f'written to {out}')
    return result
