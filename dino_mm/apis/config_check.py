"""Keys of a config that nothing would read."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from dino_mm import registry

#: Top-level keys that MMEngine's Runner takes.
TAKEN = inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}
#: And those that it, or a command line of OpenMMLab, looks up.
LOOKED_UP = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
#: Keys of dicts without a type, by the place of the dict.
PLAIN = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
}
LOADER = inspect.signature(DataLoader.__init__).parameters.keys() - {'self'}
PLAIN |= {
    f'{part}_dataloader': {*LOADER, 'num_batch_per_epoch'} for part in ('train', 'val', 'test')
}
#: Keys that the builder of a part takes out before its class sees the rest.
BUILDERS = {'type', '_scope_', 'priority', 'constructor', 'paramwise_cfg', 'convert_to_iter_based'}
#: Modules whose classes are checked. Others may have builders that take further keys.
CHECKED = ('dino_mm.', 'torch.optim', 'mmengine.hooks', 'mmengine.dataset', 'mmengine.runner')


def suggest(key: str, known: Iterable[str]) -> str:
    """The end of an error message: which known keys resemble one."""
    close = get_close_matches(key, sorted(known))
    return f': did you mean {" or ".join(close)}?' if close else ''


def paths(config: Any, where: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict below a config, and its place, as ``--cfg-options`` spells it."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    if isinstance(config, dict):
        yield where, config
    for key, value in items:
        if isinstance(value, (dict, list, tuple)):
            yield from paths(value, f'{where}.{key}' if where else str(key))


def check_top_level(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuses misspelled top-level keys of a file, and options that change nothing.

    A file may name whatever it likes for its own use. An option comes too late for that: it works
    on keys alone that are read later.

    Args:
        cfg (Config): The config of a file.
        options (Mapping): What ``--cfg-options`` changes, by dotted key.

    Raises:
        ValueError: Naming the key and what may have been meant.
    """
    for key in cfg.keys() - TAKEN - LOOKED_UP:
        close = get_close_matches(key, TAKEN, n=1, cutoff=0.85)
        if close:
            raise ValueError(f'{cfg.filename}: nothing reads {key}, did you mean {close[0]}?')
    for option in options:
        key = option.split('.')[0]
        if key in TAKEN | LOOKED_UP:
            continue
        close = get_close_matches(key, TAKEN | LOOKED_UP, cutoff=0.8)
        for where, part in paths({k: v for k, v in cfg.items() if k in TAKEN}):
            names = get_close_matches(key, map(str, part), n=1, cutoff=0.7)
            close += [f'{where}.{names[0]}'] if where and names else []
        file = ', a variable of the config file that was used already' if key in cfg else ''
        raise ValueError(
            f'--cfg-options {option}: nothing reads {key}{file}'
            + (f'; did you mean {" or ".join(dict.fromkeys(close))}?' if close else '')
        )


def arguments_of(kind: type) -> tuple[set[str], bool]:
    """Names of the arguments of a class, and whether it takes any others as well."""
    known: set[str] = set()
    for base in inspect.getmro(kind)[:-1]:  # the last one is object
        if '__init__' in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            known |= parameters.keys() | getattr(base.__init__, 'renamed', {}).keys()
            if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
                return known, False
    return known, bool(known)


def classes_of(name: str) -> list[type]:
    """Classes that any registry has under a name, in the present default scope."""
    found = []
    for one in vars(registry).values():
        if isinstance(one, Registry):
            with one.switch_scope_and_registry(None) as local:
                found.append(local.get(name))
    return [one for one in dict.fromkeys(found) if inspect.isclass(one)]


def check_keys(cfg: Config | dict) -> None:
    """Refuses keys that the part which they stand in does not take.

    Args:
        cfg (Config | dict): A whole config or a part of one.

    Raises:
        ValueError: Naming the path of the key and what may have been meant.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    parts = cfg._cfg_dict.to_dict() if isinstance(cfg, Config) else cfg
    hooks = parts.get('default_hooks') or {}
    for name, hook in hooks.items():
        if isinstance(hook, dict) and 'type' not in hook:
            raise ValueError(
                f'default_hooks.{name} has no type{suggest(name, hooks.keys() - {name})}'
            )
    with DefaultScope.overwrite_default_scope(scope):
        for where, part in paths({k: v for k, v in parts.items() if k in TAKEN}):
            known, takes_others = PLAIN.get(where), False
            if isinstance(part.get('type'), str):
                classes = classes_of(part['type'])
                if not all(one.__module__.startswith(CHECKED) for one in classes):
                    continue
                found = [arguments_of(one) for one in classes]
                known = set().union(BUILDERS, *(names for names, _ in found)) if found else None
                takes_others = any(others for _, others in found)
                if known and where.startswith('model.objectives.'):
                    known.add('weight')  # for the algorithm
            for key in part.keys() - known if known else ():
                # What may be meant for others is refused if it is nearly one of its own.
                if takes_others and not get_close_matches(key, known, cutoff=0.85):
                    continue
                name = f'{where} ({part["type"]})' if 'type' in part else where
                raise ValueError(
                    f'{where}.{key}: {name} takes no {key}{suggest(key, known - BUILDERS)}'
                )
