"""Device, precision and process group, chosen from what the machine has."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log

from .memory import keep_freed_memory
from .precision import best_amp_dtype

#: Option of prctl(2).
PR_SET_PDEATHSIG = 1
#: And where each says how many processes there are.
LAUNCHERS = dict(none=None, pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')
#: And where each tells a process its number.
RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def own_rank(launcher: str) -> int:
    """Number of this process among those of a launcher, also before their group is there."""
    return int(os.environ.get(RANKS.get(launcher, ''), 0))


def _rank_from_slurm() -> None:
    """Sets torchrun's variables from SLURM's."""
    env = os.environ
    hosts = subprocess.check_output(['scontrol', 'show', 'hostnames', env['SLURM_STEP_NODELIST']])
    env.setdefault('MASTER_ADDR', hosts.decode().split()[0])
    env.setdefault('MASTER_PORT', '29500')
    env.update(
        RANK=env['SLURM_PROCID'], LOCAL_RANK=env['SLURM_LOCALID'], WORLD_SIZE=env['SLURM_NTASKS']
    )


def _rank_from_mpi() -> None:
    """Sets torchrun's variables from Open MPI's."""
    env = os.environ
    env.setdefault('MASTER_ADDR', '127.0.0.1')
    env.setdefault('MASTER_PORT', '29500')
    env.update(
        RANK=env['OMPI_COMM_WORLD_RANK'],
        LOCAL_RANK=env['OMPI_COMM_WORLD_LOCAL_RANK'],
        WORLD_SIZE=env['OMPI_COMM_WORLD_SIZE'],
    )


def unsynchronize(cfg: ConfigDict | list) -> bool:
    """Makes every ``SyncBN`` below a config a ``BN``, in place; whether there was any."""
    found = isinstance(cfg, dict) and cfg.get('type') == 'SyncBN'
    if found:
        cfg['type'] = 'BN'
    for value in cfg.values() if isinstance(cfg, dict) else cfg:
        if isinstance(value, (dict, list)):
            found |= unsynchronize(value)
    return found


def start_processes(launcher: str) -> None:
    """Starts the process group that a launcher names, if there is none yet.

    With a GPU this is MMEngine's work, which selects a CUDA device under every launcher. Without
    one the group communicates by gloo.

    Args:
        launcher (str): One of :data:`LAUNCHERS`.
    """
    if launcher == 'none' or is_distributed():
        return
    if get_device() != 'cpu':
        init_dist(launcher)
        return
    if launcher == 'slurm':
        _rank_from_slurm()
    elif launcher == 'mpi':
        _rank_from_mpi()
    torch.distributed.init_process_group('gloo')


def end_with_launcher() -> None:
    """Asks the system (Linux) to end this process by SIGTERM when the one that started it ends.

    A launcher that is killed cannot end its processes, which would go on to train and to write.
    """
    if sys.platform.startswith('linux'):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def processes_that_end() -> Iterator[None]:
    """Closes the process group, if there is one, when all went well.

    A process that merely exits while another one still talks to it may abort, and the launcher
    would call a finished run a failure.
    """
    yield
    if is_distributed():
        torch.distributed.destroy_process_group()


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Makes a config start under a launcher, on CPU too.

    With a GPU the Runner starts the process group, by the config's ``env_cfg.dist_cfg``. Without
    one it is started here, and synchronized batch norm, which needs a GPU, becomes plain batch
    norm.

    Args:
        cfg (Config): Changed in place.
        launcher (str): One of :data:`LAUNCHERS`.
    """
    cfg.launcher = launcher
    if launcher != 'none':
        end_with_launcher()
    if get_device() != 'cpu':
        return
    keep_freed_memory()
    if launcher == 'none':
        return
    start_processes(launcher)
    # MMEngine would pass a GPU index.
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
    if cfg.get('runner_type') == 'FlexibleRunner':
        strategy = dict(type='DDPStrategy') | dict(cfg.get('strategy') or {})
        wrapper |= strategy.get('model_wrapper') or {}
        cfg.strategy = strategy | dict(model_wrapper=wrapper | {'device_ids': None})
    else:
        wrapper |= cfg.get('model_wrapper_cfg') or {}
        cfg.model_wrapper_cfg = wrapper | {'device_ids': None}
    # Asked for by the Runner's own key, and by norm_cfg in models of mmseg and mmdet.
    if bool(cfg.pop('sync_bn', None)) | unsynchronize(cfg.get('model', {})):
        print_log('Synchronized batch norm needs a GPU: plain batch norm on CPU.', 'current', 30)


#: What divides the model among processes. Moving average, export and checkpoints at an
#: interruption need it whole.
SHARDING = ('FSDP', 'FullyShardedDataParallel', 'DeepSpeed', 'ColossalAI')


def refuse_sharding(cfg: Config) -> None:
    """Refuses configs that divide the model among processes.

    Raises:
        NotImplementedError: Naming the key and what is supported.
    """
    for key in ('strategy', 'model_wrapper_cfg', 'optim_wrapper'):
        kind = (cfg.get(key) or {}).get('type', '')
        name = kind if isinstance(kind, str) else kind.__name__
        if any(word in name for word in SHARDING):
            raise NotImplementedError(
                f'{key}.type={name}: models that are divided among processes (FSDP, DeepSpeed, '
                'ColossalAI) are not supported, remove the key for data-parallel training with a '
                'whole model per process, where model.backbone.with_cp saves memory'
            )


def enable_amp(cfg: Config) -> None:
    """Turns on mixed precision in ``cfg.optim_wrapper``, by what the device can do."""
    dtype = best_amp_dtype()
    if dtype is None:
        print_log('--amp: this CPU has no bfloat16, training in float32.', 'current', 30)
        return
    wrapper = cfg.optim_wrapper
    if wrapper.get('type', 'OptimWrapper').endswith('DINOOptimWrapper'):
        wrapper.dtype = dtype
    elif dtype == 'bfloat16':
        wrapper.type = 'dino_mm.AutocastOptimWrapper'
        for key in ('dtype', 'loss_scale'):  # of an AmpOptimWrapper in the config
            wrapper.pop(key, None)
    else:
        wrapper.type, wrapper.dtype = 'AmpOptimWrapper', dtype


@contextmanager
def explain_empty_dataset(cfg: Config) -> Iterator[None]:
    """Says of which folders a data set without a single image was to be made.

    MMEngine's ends in NumPy's words, when it joins the empty list of its items.
    """
    try:
        yield
    except ValueError as error:
        if 'need at least one array to concatenate' not in str(error):
            raise
        keys = ('data_root', 'ann_file', 'data_prefix', 'img_suffix')
        found = [
            f'{loader}.dataset: { ({key: dataset[key] for key in keys if key in dataset}) }'
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
            if (dataset := (cfg.get(loader) or {}).get('dataset'))
        ]
        raise ValueError(
            'a data set holds no image; check the folders and the suffix of file names in '
            + '; '.join(found)
        ) from error


def own_cores() -> int:
    """Cores that this process may keep busy, of those of the machine."""
    cores = os.cpu_count() or 1
    if hasattr(os, 'sched_getaffinity'):  # a task of a cluster may be bound to a part of them
        cores = len(os.sched_getaffinity(0))
    cores = min(cores, int(os.environ.get('SLURM_CPUS_PER_TASK', cores)))
    return max(cores // int(os.environ.get('LOCAL_WORLD_SIZE', 1)), 1)


def fit_loaders(cfg: Config) -> None:
    """Fits data loaders to the machine: no more workers than cores, pinned memory with a GPU.

    Without workers none can persist, which PyTorch would refuse.
    """
    share = own_cores()
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        if loader.get('num_workers', 0) > share:
            print_log(f'{name}: {share} workers instead of {loader.num_workers}', 'current')
            loader.num_workers = share
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)
        if loader.get('pin_memory') and get_device() == 'cpu':
            loader.pin_memory = False
