"""Shrinks any training config to a run of minutes."""

from mmengine.config import Config, ConfigDict

from dino_mm.utils.progress import parse_length

#: Size of a trial: enough for every hook, schedule and evaluation to take its turn.
EPOCHS, ITERATIONS, BATCH = 2, 4, 4


def _shrink_dataset(dataset: ConfigDict, images: int) -> None:
    for key in ('dataset', 'bank', 'queries'):  # wrappers
        if isinstance(dataset.get(key), dict):
            _shrink_dataset(dataset[key], images)
    for part in dataset.get('datasets', []):
        _shrink_dataset(part, images)
    if not any(key in dataset for key in ('datasets', 'bank')) and not isinstance(
        dataset.get('dataset'), dict
    ):
        dataset.indices = images


def _shorten(part: ConfigDict, key: str) -> None:
    """Makes a length of several epochs one epoch; a share of the run shrinks by itself."""
    if key not in part:
        return
    length = parse_length(key, part[key])
    if length.unit != 'percent' and length.value > 1:
        part[key] = 1 if length.unit == 'epochs' else f'1 {length.unit}'


def shrink(cfg: Config, processes: int = 1) -> None:
    """Reduces a config in place: few images, small batches, two epochs, few workers.

    Networks, crop sizes and losses stay as they are, so that what runs is the config's own code.
    Warm-ups and intervals are shortened to fit.

    Args:
        cfg (Config): Changed in place.
        processes (int): Processes that share the images.
    """
    is_stream = (cfg.get('train_cfg') or {}).get('type', '').endswith('StreamTrainLoop')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        loader.batch_size = min(loader.batch_size, BATCH)
        loader.num_workers = min(loader.get('num_workers', 0), 1)
        loader.persistent_workers = loader.num_workers > 0
        if loader is cfg.get('train_dataloader') and is_stream:
            # It has no number of images to reduce, but reads a buffer full before the first one.
            if 'buffer_size' in loader.dataset:
                loader.dataset.buffer_size = min(loader.dataset.buffer_size, BATCH * ITERATIONS)
        else:
            _shrink_dataset(loader.dataset, BATCH * ITERATIONS * processes)
    iterations = EPOCHS * ITERATIONS
    if cfg.get('train_cfg'):
        if cfg.train_cfg.get('by_epoch') is False or 'max_iters' in cfg.train_cfg:
            cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = iterations
            if is_stream:
                cfg.train_cfg.epoch_length = ITERATIONS
        else:
            cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = EPOCHS
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        end = EPOCHS if scheduler.get('by_epoch', True) else iterations
        for key in ('begin', 'end'):
            if key in scheduler:
                scheduler[key] = min(scheduler[key], end if key == 'end' else 1)
        _shorten(scheduler, 'warmup')
    _shorten(cfg.model.get('loss', {}), 'warmup_teacher_temp_epochs')
    hooks = [*cfg.get('custom_hooks', []), *cfg.get('default_hooks', {}).values()]
    for hook in hooks:
        if hook and hook.get('type', '').endswith('FreezeLastLayerHook'):
            _shorten(hook, 'epochs')
        if hook and 'interval' in hook:
            # a checkpoint per iteration would take longer than the iterations
            hook.interval = 1 if hook.get('by_epoch', True) else iterations
