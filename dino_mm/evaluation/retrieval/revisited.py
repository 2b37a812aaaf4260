"""Ground truth of revisited Oxford and Paris, as published."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

DATASETS = ('roxford5k', 'rparis6k')


@dataclass
class RevisitedGroundTruth:
    """Content of a published ``gnd_*.pkl``.

    Attributes:
        database (list[str]): Image names, without folder and ending.
        queries (list[str]): Image names of the queries, in the same form.
        truths (list[dict]): For each query the database indices ``easy``, ``hard`` and ``junk``,
            and ``bbx``: left, top, right, bottom in pixels of the object to search for.
    """

    database: list[str]
    queries: list[str]
    truths: list[dict]


class _DataUnpickler(pickle.Unpickler):
    """Reads built-in containers, numbers and text, which need no import, and nothing else."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f'it asks for {module}.{name}')


def read_ground_truth(path: str | os.PathLike) -> RevisitedGroundTruth:
    """Reads a published ground truth file without running code from it.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file holds more than plain data, or not this data.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path} does not exist: it comes with https://github.com/filipradenovic/revisitop'
        )
    try:
        with open(path, 'rb') as file:
            content = _DataUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f'{path} is not a published ground truth, which holds plain data only ({error}): '
            'download it again'
        ) from error
    try:
        truth = RevisitedGroundTruth(content['imlist'], content['qimlist'], content['gnd'])
        for entry in truth.truths:
            left, top, right, bottom = entry['bbx']
            indices = [*entry['easy'], *entry['hard'], *entry['junk']]
            if not (left < right and top < bottom):
                raise ValueError(f'box {entry["bbx"]} is empty')
            if indices and not 0 <= min(indices) <= max(indices) < len(truth.database):
                raise ValueError(f'an index is beyond the {len(truth.database)} images')
        if not (truth.database and truth.queries):
            raise ValueError('it names no images or no queries')
        if len(truth.truths) != len(truth.queries):
            raise ValueError(f'{len(truth.queries)} queries, but truths of {len(truth.truths)}')
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is not a ground truth of revisited landmarks: {error}') from error
    return truth


def image_path(data_root: str | os.PathLike, dataset: str, name: str) -> Path:
    """``DATA_ROOT/roxford5k/jpg/NAME.jpg``."""
    return Path(data_root) / dataset / 'jpg' / f'{name}.jpg'
