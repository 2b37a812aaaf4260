"""One table at the end of an evaluation and a JSON file beside it."""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import is_main_process

from dino_mm.utils.files import replaced
from dino_mm.version import __version__


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with equal keys as aligned text; numbers have two decimals, unknown ones are ``-``."""

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return '-'
        return f'{value:.2f}' if isinstance(value, float) else str(value)

    header = list(rows[0])
    lines = [header, *([cell(row[key]) for key in header] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [
        line[0].ljust(widths[0])
        + ''.join(f'  {text:>{width}}' for text, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    texts.insert(1, '-' * len(texts[0]))
    return '\n'.join(texts)


def _plain(value: Any) -> Any:
    """A value without NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_json(content: dict, path: str | os.PathLike) -> None:
    """Writes the file in one step, so that an interruption leaves no incomplete file."""
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(_plain(content), indent=2))


def report(
    title: str, rows: Sequence[dict[str, Any]], result: dict, path: str | os.PathLike
) -> None:
    """The main process prints the table and writes the result, with versions of the software."""
    if not is_main_process():
        return
    versions = dict(dino_mm=__version__, torch=torch.__version__)
    write_json(result | dict(versions=versions), path)
    print(f'\n{title}\n{format_table(rows)}\nwritten to {path}', flush=True)
