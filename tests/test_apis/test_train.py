"""The command lines, as a person runs them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from dino_mm.apis import test as test_api
from dino_mm.apis import train
from dino_mm.checkpoint import CheckpointError, read_checkpoint
from dino_mm.utils import launch, precision

from ..checkpoint_files import write_checkpoint
from ..conftest import TOOLS

ROOT = TOOLS.parent
QUICKSTART = str(ROOT / 'configs/quickstart/dino_vit-tiny_digits.py')


def digits(cache: Path) -> list[str]:
    """Options that shrink the quickstart to seconds."""
    options = [f'train_dataloader.dataset.data_root={cache}']
    for part in ('bank', 'queries'):
        options.append(f'val_dataloader.dataset.{part}.data_root={cache}')
        options.append(f'val_dataloader.dataset.{part}.scenes_per_digit=1')
    return [*options, 'train_dataloader.dataset.scenes_per_digit=1']


@pytest.fixture(scope='module')
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('digits')


def run(command: list[str], **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, **kwargs)


def test_quickstart_on_two_processes(cache, tmp_path) -> None:
    """tools/dist_train.sh on CPU, shrunk by --trial: trains, evaluates and reports."""
    command = ['bash', 'tools/dist_train.sh', QUICKSTART, '2', '--trial']
    command += ['--work-dir', str(tmp_path), '--cfg-options', *digits(cache)]
    environment = os.environ | dict(PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    done = run(command, env=environment)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    for text in ('raw pixels', 'untrained backbone', 'gain over', 'attention.png', ' left  '):
        assert text in log, text
    names = {'backbone.pth', 'curves.png', 'attention.png', 'neighbors.png', 'epoch_2.pth'}
    assert names <= {path.name for path in tmp_path.iterdir()}
    backbone = torch.load(tmp_path / 'backbone.pth', weights_only=True)
    state = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    for name, value in backbone['state_dict'].items():
        assert value.equal(state[f'teacher.backbone.{name}'])
    # The two processes saw different halves and stayed in step: resume and test work from here.
    metrics = test_api.main(
        [QUICKSTART, str(tmp_path / 'epoch_2.pth'), '--work-dir', str(tmp_path / 'test')]
        + ['--cfg-options', *digits(cache)]
        # of the trial: 2 processes, 4 iterations, 4 images
        + [f'val_dataloader.dataset.{part}.indices=32' for part in ('bank', 'queries')]
    )
    assert f'knn/k20_top1 {metrics["knn/k20_top1"]:.4g}  ' in log


def toy_training(image_folder: Path, tmp_path: Path) -> tuple[list[str], Path]:
    """Arguments of tools/train.py that train for hours in small steps, and the folder of the run."""
    config, work = tmp_path / 'toy.py', tmp_path / 'work'
    config.write_text(
        f"_base_ = ['{ROOT}/configs/dino_vit-s16_8xb64.py']\n"
        'model = dict(backbone=dict(_delete_=True, type="VisionTransformer",\n'
        '    arch=dict(embed_dims=24, num_layers=2, num_heads=3)),\n'
        '    head=dict(in_dim=24, out_dim=64, hidden_dim=16, bottleneck_dim=8))\n'
        'train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(\n'
        f"    data_root='{image_folder}'))\n"
        'train_cfg = dict(max_epochs=100_000)\n'
        'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1000))\n'
        'param_scheduler = dict(warmup=1)\n'
    )
    return [str(config), '--work-dir', str(work)], work


def interrupted(command: list[str], send: Callable, **kwargs) -> tuple[int, str]:
    """Exit status and whole output of a training to whose process a signal is sent.

    The signal follows a second after the first line about a step, when training is well under way.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **kwargs,
    )
    try:
        log = ''
        for line in process.stdout:
            log += line
            if '  step ' in line:
                break
        else:
            pytest.fail(f'training ended before its first step:\n{log}')
        time.sleep(1)
        assert process.poll() is None, f'training ended by itself:\n{log}{process.stdout.read()}'
        send(process)
        log += process.stdout.read()
        return process.wait(60), log
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_interrupted_with_workers_and_resumed(image_folder, tmp_path) -> None:
    arguments, work = toy_training(image_folder, tmp_path)
    command = [sys.executable, 'tools/train.py', *arguments]
    # As Ctrl-C does: workers get it too.
    status, log = interrupted(command, lambda process: os.killpg(process.pid, signal.SIGINT))
    assert status == 128 + signal.SIGINT, log
    assert 'with --resume goes on' in log and 'Traceback' not in log, log
    saved = next(work.glob('interrupted_iter_*.pth'))
    done = int(saved.stem.split('_')[-1])
    again = run([*command, '--resume', '--cfg-options', f'train_cfg.max_epochs={done // 6 + 2}'])
    assert again.returncode == 0, again.stdout + again.stderr
    assert saved.name in again.stdout + again.stderr


def test_options_reach_the_config(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(precision, 'bf16_on_cpu', lambda: True)
    monkeypatch.setattr(precision, 'get_device', lambda: 'cpu')
    arguments = [QUICKSTART, '--amp', '--auto-scale-lr', '--cfg-options', 'model.head.out_dim=77']
    cfg = train.build_config(train.parse_args(arguments))
    assert cfg.optim_wrapper.dtype == 'bfloat16' and cfg.auto_scale_lr.enable
    assert cfg.resume is False and cfg.model.head.out_dim == 77
    assert cfg.work_dir == 'work_dirs/dino_vit-tiny_digits'


def test_interrupted_on_two_processes(image_folder, tmp_path) -> None:
    """The second process neither leaves the first waiting nor ends before it has saved."""
    arguments, work = toy_training(image_folder, tmp_path)
    with open(arguments[0], 'a') as config:
        config.write(
            "custom_imports = dict(imports=['slow_saving'])\n"
            "custom_hooks = [dict(type='SlowSaving')]\n"
        )
    (tmp_path / 'slow_saving.py').write_text(
        'import os, time\n'
        'from mmengine.hooks import Hook\n'
        'from dino_mm.registry import HOOKS\n'
        '@HOOKS.register_module()\n'
        'class SlowSaving(Hook):\n'
        '    def before_train(self, runner):\n'
        '        open(f"{runner.work_dir}/{os.getpid()}.pid", "w")\n'
        '    def before_save_checkpoint(self, runner, checkpoint):\n'
        '        time.sleep(3)\n'
    )
    environment = os.environ | dict(
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        PYTHONPATH=f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}',
    )
    command = ['bash', 'tools/dist_train.sh', arguments[0], '2', *arguments[1:]]

    def send(process) -> None:  # to the tasks, as SLURM does, whose end the launcher then notes
        for file in work.glob('*.pid'):
            os.kill(int(file.stem), signal.SIGTERM)

    _, log = interrupted(command, send, env=environment)
    assert 'with --resume goes on' in log, log
    saved = Path((work / 'last_checkpoint').read_text())
    assert [*work.glob('interrupted_iter_*.pth')] == [saved]
    assert read_checkpoint(saved)['meta']['iter'] > 0


def test_resume_begins_with_load_from_and_goes_on_with_the_newest(tmp_path) -> None:
    arguments = [QUICKSTART, '--resume', '--work-dir', str(tmp_path)]
    arguments = train.parse_args([*arguments, '--cfg-options', 'load_from=published.pth'])
    cfg = train.build_config(arguments)
    assert cfg.load_from == 'published.pth' and cfg.resume is False
    write_checkpoint(tmp_path / 'epoch_1.pth', 22)
    cfg = train.build_config(arguments)
    assert cfg.load_from == str(tmp_path / 'epoch_1.pth') and cfg.resume is True


def test_a_run_does_not_begin_over_another_one(tmp_path) -> None:
    saved = write_checkpoint(tmp_path / 'epoch_1.pth', 22)
    cfg = train.build_config(train.parse_args([QUICKSTART, '--work-dir', str(tmp_path)]))
    cfg.launcher = 'none'
    refused = pytest.raises(FileExistsError, match=r'epoch_1\.pth.*--resume .*--overwrite')
    with refused, train.owned(cfg):
        pass
    assert saved.exists()
    with train.owned(cfg, anew=True):
        assert not saved.exists()
        with pytest.raises(BlockingIOError, match=f'process {os.getpid()}'), train.owned(cfg):
            pass


def test_trials_have_a_folder_of_their_own() -> None:
    folders = [
        train.build_config(train.parse_args([QUICKSTART, *options])).work_dir
        for options in ([], ['--trial'])
    ]
    assert folders == ['work_dirs/dino_vit-tiny_digits', 'work_dirs/dino_vit-tiny_digits_trial']


def test_amp_without_bfloat16_stays_in_float32(monkeypatch, capsys) -> None:
    monkeypatch.setattr(precision, 'bf16_on_cpu', lambda: False)
    monkeypatch.setattr(precision, 'get_device', lambda: 'cpu')
    cfg = Config(dict(optim_wrapper=dict(type='DINOOptimWrapper')))
    launch.enable_amp(cfg)
    assert 'dtype' not in cfg.optim_wrapper


class Command:
    """What a hostile checkpoint holds."""

    def __reduce__(self):
        return Path.touch, (Path('run'),)


@pytest.mark.parametrize('name', ['foreign.pth', '~/foreign.pth'])
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(dict(state_dict={}, extra=Command()), 'foreign.pth')
    options = ['--work-dir', str(tmp_path / 'work'), '--cfg-options', f'load_from={name}']
    with pytest.raises(CheckpointError, match='foreign.pth'):
        train.main([QUICKSTART, *options, *digits(tmp_path)])
    assert not Path('run').exists()


def test_text_in_a_checkpoint_is_not_evaluated(make_runner, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_runner().train()
    path = tmp_path / 'work/epoch_1.pth'
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = "open('run', 'w').close()"
    torch.save(content, path)
    resumed = make_runner(resume=True, load_from=str(path))
    resumed.train()
    assert resumed.iter == 6 and not Path('run').exists()


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        train.build_config(train.parse_args([QUICKSTART, '--resume', 'gone.pth']))
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        test_api.build_config(test_api.parse_args([QUICKSTART, 'gone.pth']))
    vanilla = str(ROOT / 'configs/dino_vit-s16_8xb64.py')
    with pytest.raises(ValueError, match='neither test_dataloader nor val_dataloader'):
        test_api.build_config(test_api.parse_args([vanilla, QUICKSTART]))


def test_auto_scale_lr_needs_a_base(tmp_path) -> None:
    config = tmp_path / 'plain.py'
    config.write_text('model = dict()\n')
    with pytest.raises(ValueError, match='base_batch_size'):
        train.build_config(train.parse_args([str(config), '--auto-scale-lr']))


def test_cpu_launch_replaces_what_needs_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    started = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', started.append)
    cfg = Config(dict(sync_bn='torch'))
    launch.prepare_launch(cfg, 'pytorch')
    assert started == ['gloo'] and 'sync_bn' not in cfg
    assert cfg.model_wrapper_cfg.device_ids is None and cfg.launcher == 'pytorch'


def test_cpu_launch_of_the_flexible_runner(monkeypatch) -> None:
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: None)
    wrapper = dict(find_unused_parameters=True)
    cfg = Config(dict(runner_type='FlexibleRunner', strategy=dict(model_wrapper=wrapper)))
    launch.prepare_launch(cfg, 'pytorch')
    assert cfg.strategy.type == 'DDPStrategy' and 'model_wrapper_cfg' not in cfg
    wrapper |= dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
    assert cfg.strategy.model_wrapper == wrapper


def test_with_a_gpu_mmengine_starts_the_processes_once(monkeypatch) -> None:
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    started = []
    monkeypatch.setattr(launch, 'init_dist', started.append)
    launch.prepare_launch(Config(), 'slurm')  # the Runner will, by its own env_cfg
    launch.start_processes('none')
    assert started == []
    launch.start_processes('slurm')
    monkeypatch.setattr(launch, 'is_distributed', lambda: True)
    launch.start_processes('slurm')
    assert started == ['slurm']


@pytest.mark.parametrize(
    'changes',
    [
        dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy')),
        dict(runner_type='FlexibleRunner', strategy=dict(type='mmengine.DeepSpeedStrategy')),
        dict(runner_type='FlexibleRunner', strategy=dict(type='ColossalAIStrategy')),
        dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')),
    ],
)
def test_divided_models_are_refused(make_runner, changes) -> None:
    with pytest.raises(
        NotImplementedError, match='(strategy|model_wrapper_cfg).type=.*whole model'
    ):
        make_runner(**changes)


def test_cpu_launch_makes_synchronized_batch_norm_plain(monkeypatch) -> None:
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: None)
    heads = [dict(norm_cfg=dict(type='SyncBN')), dict(norm_cfg=dict(type='LN'))]
    cfg = Config(dict(model=dict(neck=dict(norm_cfg=dict(type='SyncBN')), auxiliary_head=heads)))
    launch.prepare_launch(cfg, 'pytorch')
    assert cfg.model.neck.norm_cfg.type == cfg.model.auxiliary_head[0].norm_cfg.type == 'BN'
    assert cfg.model.auxiliary_head[1].norm_cfg.type == 'LN'


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_amp_of_foreign_optimizer_wrappers(monkeypatch, dtype) -> None:
    monkeypatch.setattr(launch, 'best_amp_dtype', lambda: dtype)
    cfg = Config(
        dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale='dynamic', clip_grad=1))
    )
    launch.enable_amp(cfg)
    wanted = dict(type='dino_mm.AutocastOptimWrapper')
    if dtype == 'float16':  # on GPUs alone
        wanted = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    assert cfg.optim_wrapper == wanted | dict(clip_grad=1)


def test_workers_and_pinning_fit_the_machine(monkeypatch) -> None:
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(launch.os, 'sched_getaffinity', lambda _: range(8), raising=False)
    monkeypatch.delenv('SLURM_CPUS_PER_TASK', raising=False)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    cfg = Config(
        dict(
            train_dataloader=dict(num_workers=10, pin_memory=True, persistent_workers=True),
            val_dataloader=dict(num_workers=0, persistent_workers=True),  # PyTorch refuses it
        )
    )
    launch.fit_loaders(cfg)
    assert cfg.train_dataloader == dict(num_workers=2, pin_memory=False, persistent_workers=True)
    assert cfg.val_dataloader == dict(num_workers=0)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '1')
    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '3')
    assert launch.own_cores() == 3


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='Linux alone knows such a signal')
def test_processes_end_with_their_launcher() -> None:
    task = (
        'import time\n'
        'from dino_mm.utils.launch import end_with_launcher\n'
        'end_with_launcher()\n'
        "print('ready', flush=True)\n"
        'time.sleep(60)\n'
    )
    launcher = (
        'import subprocess, sys\n'
        f'task = subprocess.Popen([sys.executable, "-c", {task!r}], stdout=subprocess.PIPE)\n'
        'task.stdout.readline()\n'
        'print(task.pid, flush=True)\n'
        'task.wait()\n'
    )
    process = subprocess.Popen([sys.executable, '-c', launcher], stdout=subprocess.PIPE, text=True)
    task_id = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    status = Path(f'/proc/{task_id}/stat')
    for _ in range(100):
        if not status.exists() or status.read_text().split()[2] == 'Z':
            return
        time.sleep(0.1)
    os.kill(task_id, signal.SIGKILL)
    pytest.fail('the task goes on without its launcher')
