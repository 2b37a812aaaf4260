"""Holds a run through the Runner against a recording of the published code."""

import json
import tempfile
import uuid
from collections.abc import Mapping

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from dino_mm.models import VisionTransformer
from dino_mm.registry import DATASETS, HOOKS, TRANSFORMS
from dino_mm.utils.wrappers import unwrap

#: Largest difference allowed per quantity, and whether it is relative. Initial weights changed by
#: one float32 rounding move the recorded run itself by 6e-6 in its losses and 3e-6 in its weights.
TOLERANCES = {
    'outputs': (1e-5, True),
    'loss': (1e-4, True),
    'grad_norm': (1e-3, True),
    'lr': (1e-8, True),
    'weight_decay': (1e-12, False),
    'momentum': (1e-12, False),
    'teacher_temp': (1e-12, False),
    'center': (1e-5, False),
    'weights': (1e-4, False),
    'weights without gradient': (5e-2, False),
    'features': (1e-5, False),
    'attention': (1e-5, False),
    'layers': (1e-5, False),
}


class Recording(Mapping):
    """A recorded trajectory: entries of the file, its ``config`` decoded.

    Raises:
        ValueError: The file is no trajectory.
    """

    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.entries = {key: file[key] for key in file.files}
        if 'config' not in self.entries or 'crops/00/0' not in self.entries:
            raise ValueError(f'{path} is no trajectory: it lacks `config` or `crops/00/0`')
        self.path = path
        self.config = json.loads(str(self.entries['config']))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.entries[key]

    def __iter__(self):
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below ``prefix/``, without it."""
        start = len(prefix) + 1
        return {
            key[start:]: torch.from_numpy(np.array(value))
            for key, value in self.items()
            if key.startswith(prefix + '/')
        }

    def crops(self, iteration: int) -> list[Tensor]:
        """Crops of one iteration, each (B, 3, H, W)."""
        found = self.part(f'crops/{iteration:02d}')
        return [found[str(i)] for i in range(len(found))]


@DATASETS.register_module()
class RecordedCrops(BaseDataset):
    """One item per image of an epoch; :class:`LoadRecordedCrops` finds its crops."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(pipeline=[dict(type='LoadRecordedCrops', path=path)])

    def load_data_list(self) -> list[dict]:
        config = Recording(self.path).config
        return [
            dict(iteration=iteration, position=position)
            for iteration in range(config['iters_per_epoch'])
            for position in range(config['batch_size'])
        ]


@TRANSFORMS.register_module()
class LoadRecordedCrops(BaseTransform):
    """The recorded crops of one image in the current epoch."""

    def __init__(self, path: str) -> None:
        self.recording, self.epoch = Recording(path), 0

    def set_epoch(self, epoch: int, seed: int) -> None:
        self.epoch = epoch

    def transform(self, results: dict) -> dict:
        iteration = self.epoch * self.recording.config['iters_per_epoch'] + results['iteration']
        return dict(inputs=[c[results['position']] for c in self.recording.crops(iteration)])


@HOOKS.register_module()
class TrajectoryHook(Hook):
    """Records every iteration as the recording does, averaged over ranks and micro-batches."""

    def before_train(self, runner) -> None:
        self.record: dict[str, list] = {}
        self.outputs: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []
        model = unwrap(runner.model)
        self.handles = [
            getattr(model, name).head.register_forward_hook(self._keep_first(name))
            for name in ('teacher', 'student')
        ]

    def _keep_first(self, name: str):
        def hook(module, args, output) -> None:
            if output.logits is not None:
                self.outputs.setdefault(name, output.logits.detach().clone())

        return hook

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, 'mean')
        self.losses.append(loss)
        wrapper = runner.optim_wrapper
        if not wrapper.should_update():
            return
        groups = {group['name']: group for group in wrapper.optimizer.param_groups}
        criterion = unwrap(runner.model).criterion
        values = dict(
            loss=float(torch.stack(self.losses).mean()),
            grad_norm=float(wrapper.grad_norm),
            lr=groups['decay']['lr'],
            weight_decay=groups['decay']['weight_decay'],
            momentum=runner.message_hub.get_scalar('train/momentum').current(),
            teacher_temp=criterion.teacher_temp,
            center=criterion.center.cpu().clone().numpy(),
        )
        self.losses.clear()
        for key, value in values.items():
            self.record.setdefault(key, []).append(value)

    def after_train(self, runner) -> None:
        for handle in self.handles:
            handle.remove()


def backbone_config(config: dict) -> dict:
    """Config of the recorded backbone."""
    return dict(
        arch=dict(
            embed_dims=config['embed_dim'],
            num_layers=config['depth'],
            num_heads=config['num_heads'],
        ),
        img_size=config['global_size'],
        patch_size=config['patch_size'],
    )


def trajectory_config(
    recording: Recording, world_size: int = 1, accumulation: int = 1, **overrides
) -> dict:
    """Arguments of a Runner that repeats the recording.

    Args:
        recording (Recording): What to repeat.
        world_size (int): Processes that share each batch.
        accumulation (int): Iterations that share each batch.
        overrides (dict): ``model``, ``loss``, ``backbone``, ``optimizer`` and ``optim_wrapper``
            entries to change.
    """
    config = recording.config
    batch = config['batch_size'] // (world_size * accumulation)
    if batch * world_size * accumulation != config['batch_size']:
        raise ValueError(
            f'a recorded batch of {config["batch_size"]} does not split into '
            f'{world_size} processes x {accumulation} iterations'
        )
    model = dict(
        type='DINO',
        data_preprocessor=dict(mean=None, std=None),
        backbone=dict(type='VisionTransformer', **backbone_config(config))
        | overrides.get('backbone', {}),
        head=dict(
            type='DINOHead',
            in_dim=config['embed_dim'],
            out_dim=config['out_dim'],
            num_layers=config['head_layers'],
            hidden_dim=config['hidden_dim'],
            bottleneck_dim=config['bottleneck_dim'],
            norm='bn' if config['use_bn'] else None,
            norm_last_layer=config['norm_last_layer'],
        ),
        loss=dict(
            type='DINOLoss',
            teacher_temp=config['teacher_temp'],
            warmup_teacher_temp=config['warmup_teacher_temp'],
            warmup_teacher_temp_epochs=config['warmup_teacher_temp_epochs'],
        )
        | overrides.get('loss', {}),
        **overrides.get('model', {}),
    )
    return dict(
        model=model,
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='RecordedCrops', path=recording.path),
        ),
        optim_wrapper=dict(
            type='DINOOptimWrapper',
            constructor='DINOOptimWrapperConstructor',
            accumulative_counts=accumulation,
            optimizer=dict(type='AdamW', lr=config['lr']) | overrides.get('optimizer', {}),
            clip_grad=config['clip_grad'],
        )
        | overrides.get('optim_wrapper', {}),
        auto_scale_lr=dict(enable=True, base_batch_size=256),
        param_scheduler=dict(
            type='WarmupCosineLR',
            warmup=config['warmup_epochs'],
            eta_min=config['min_lr'],
            convert_to_iter_based=True,
        ),
        train_cfg=dict(type='ResumableTrainLoop', max_epochs=config['epochs']),
        custom_hooks=[
            dict(type='ProgressHook'),
            dict(
                type='WeightDecayHook',
                start=config['weight_decay'],
                end=config['weight_decay_end'],
            ),
            dict(type='FreezeLastLayerHook', epochs=config['freeze_last_layer']),
            dict(type='EMAHook', momentum=config['momentum_teacher']),
            dict(type='TrajectoryHook'),
        ],
        default_hooks=dict(checkpoint=None, logger=None),
        default_scope='dino_mm',
        log_level='WARNING',
    )


def run_trajectory(recording: Recording, work_dir: str | None = None, **kwargs) -> Runner:
    """Trains through the Runner on the recorded crops from the recorded weights.

    Args:
        recording (Recording): What to repeat.
        work_dir (str, optional): Folder of the run; a temporary one by default.
        kwargs: Runner arguments that replace those of :func:`trajectory_config`, and its own.
    """
    own = ('world_size', 'accumulation')
    own += ('model', 'loss', 'backbone', 'optimizer', 'optim_wrapper')
    arguments = trajectory_config(recording, **{k: kwargs.pop(k) for k in own if k in kwargs})
    with tempfile.TemporaryDirectory() as scratch:
        cfg = Config(arguments | kwargs)
        cfg.work_dir = work_dir or scratch
        # MMEngine keeps one logger and message hub per name.
        cfg.experiment_name = f'trajectory_{uuid.uuid4().hex}'
        runner = Runner.from_cfg(cfg)
        unwrap(runner.model).student.load_state_dict(recording.part('init'))
        runner.train()
    return runner


def trajectory_hook(runner: Runner) -> TrajectoryHook:
    """The hook that recorded a run."""
    return next(hook for hook in runner.hooks if isinstance(hook, TrajectoryHook))


def _difference(ours, theirs, relative: bool) -> float:
    ours, theirs = (
        (x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))).cpu().double()
        for x in (ours, theirs)
    )
    if ours.shape != theirs.shape:
        raise ValueError(f'shapes differ: {tuple(ours.shape)} here, {tuple(theirs.shape)} recorded')
    worst = (ours - theirs).abs().max()
    return float(worst / theirs.abs().max()) if relative else float(worst)


def _split_weight(name: str, value: Tensor, config: dict) -> dict[str, Tensor]:
    """Sorts a weight, or the parts of it, by whether its gradient is mathematically zero.

    There Adam turns rounding noise into steps of up to the learning rate: keys' biases shift all
    scores of a query alike, and batch norm removes any constant before it.
    """
    if name.endswith('attn.qkv.bias'):
        query, key, rest = value.chunk(3)
        return {'weights': torch.cat([query, rest]), 'weights without gradient': key}
    noisy = False
    if config['use_bn'] and config['head_layers'] > 1:
        hidden = [f'head.mlp.{3 * i}.bias' for i in range(config['head_layers'] - 1)]
        noisy = name in (*hidden, 'backbone.norm.bias') or name.endswith('running_mean')
    return {'weights without gradient' if noisy else 'weights': value}


def compare_trajectory(recording: Recording, runner: Runner) -> dict[str, float]:
    """Largest difference per quantity of :data:`TOLERANCES` between a run and the recording."""
    hook, model = trajectory_hook(runner), unwrap(runner.model)
    names = dict(weight_decay='wd', grad_norm='grad_norm_total_before_clip')
    worst = {
        key: _difference(values, recording[f'record/{names.get(key, key)}'], TOLERANCES[key][1])
        for key, values in hook.record.items()
    }
    for name, output in hook.outputs.items():
        theirs = recording[f'outputs/{name}_0']
        if output.shape == theirs.shape:  # else one process of several
            difference = _difference(output, theirs, relative=True)
            worst['outputs'] = max(worst.get('outputs', 0.0), difference)
    for network in ('student', 'teacher'):
        ours = getattr(model, network).state_dict()
        theirs = recording.part(f'final_{network}')
        if ours.keys() != theirs.keys():
            raise ValueError(f'keys differ: {sorted(ours.keys() ^ theirs.keys())}')
        for name, value in theirs.items():
            parts = _split_weight(name, ours[name], recording.config)
            for kind, part in _split_weight(name, value, recording.config).items():
                difference = _difference(parts[kind], part, relative=False)
                worst[kind] = max(worst.get(kind, 0.0), difference)
    return worst


@torch.no_grad()
def compare_features(recording: Recording, **backbone) -> dict[str, float]:
    """Largest differences of features, attention and layers at every recorded image size."""
    model = VisionTransformer(**backbone_config(recording.config) | backbone)
    state = recording.part('final_teacher')
    model.load_state_dict(
        {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}
    )
    model.eval()
    worst = dict(features=0.0, attention=0.0, layers=0.0)
    sizes = {key.split('/')[1] for key in recording if key.startswith('features/')}
    for size in sorted(sizes):
        entry = recording.part(f'features/{size}')
        image = entry['image']
        layers = {int(k.split('_')[1]): v for k, v in entry.items() if k.startswith('layer_')}
        tokens = model.get_intermediate_layers(image, n=model.num_layers - min(layers))
        pairs = [
            ('features', model(image)[0], entry['cls']),
            ('attention', model.get_attention(image), entry['last_attention']),
            *(('layers', tokens[i - min(layers)], layers[i]) for i in layers),
        ]
        for kind, ours, theirs in pairs:
            worst[kind] = max(worst[kind], _difference(ours, theirs, relative=False))
    return worst


def check_trajectory(path: str, **kwargs) -> dict[str, float]:
    """Repeats a recording and compares everything; see :func:`run_trajectory` for options."""
    recording = Recording(path)
    runner = run_trajectory(recording, **kwargs)
    return compare_trajectory(recording, runner) | compare_features(recording)
