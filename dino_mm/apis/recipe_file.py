"""Writes a recipe as a config that a person can read and edit."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_mm.utils.files import replaced

from .recipe import Choice, Recipe

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
INDENT = '    '


def config_text(recipe: Recipe, title: str) -> str:
    """A config of MMEngine, each chosen value with its reason beside it.

    Args:
        recipe (Recipe): What to write.
        title (str): Docstring of the config.
    """
    bases = ',\n'.join(f'{INDENT}{str(CONFIGS / "_base_" / base)!r}' for base in recipe.bases)
    parts = [f'"""{title}\n"""', f'_base_ = [\n{bases},\n]']
    tree = _tree(recipe.choices)
    parts += ['\n'.join(_lines(key, value, 0, last='')) for key, value in tree.items()]
    return '\n\n'.join(parts) + '\n'


def write_config(recipe: Recipe, title: str, path: str | os.PathLike) -> None:
    """Writes :func:`config_text` whole or not at all.

    Raises:
        FileNotFoundError: The folder of configs is not beside the package.
    """
    if not CONFIGS.is_dir():
        raise FileNotFoundError(
            f'{CONFIGS} does not exist: the recipe inherits from the configs of the project. Clone '
            'it and install by "pip install -e ."'
        )
    with replaced(path) as temporary:
        Path(temporary).write_text(config_text(recipe, title), encoding='utf-8')


def _tree(choices: Sequence[Choice]) -> dict[str, Any]:
    """Nested dicts, by the parts of the keys."""
    tree: dict[str, Any] = {}
    for choice in choices:
        *folders, name = choice.key.split('.')
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = choice
    return tree


def _lines(key: str, value: Any, depth: int, last: str = ',') -> list[str]:
    """``key=value,`` at some depth; dicts whose keys are numbers are lists."""
    start = INDENT * depth + (f'{key} = ' if depth == 0 else f'{key}=' * (not key.isdigit()))
    if isinstance(value, Choice):
        comment = f'  # {value.why}' if value.why else ''
        line = f'{start}{value.value!r}{last}{comment}'
        if len(line) <= 100 or not comment:
            return [line]
        return [f'{INDENT * depth}# {value.why}', f'{start}{value.value!r}{last}']
    opened, closed = ('[', ']') if all(name.isdigit() for name in value) else ('dict(', ')')
    inside = [line for name, item in value.items() for line in _lines(name, item, depth + 1)]
    return [f'{start}{opened}', *inside, f'{INDENT * depth}{closed}{last}']
