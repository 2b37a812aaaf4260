"""Video object segmentation by label propagation on DAVIS 2017 (paper section 4.2.2, table 5)."""

import argparse
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size, is_main_process
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dino_mm.datasets.transforms import read_image
from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import (
    OldOption,
    base_parser,
    load_frozen_backbone,
)
from dino_mm.evaluation.extraction import Loaded, gather
from dino_mm.evaluation.functional import (
    labels_to_mask,
    object_scores,
    propagate_labels,
    require_finite,
)
from dino_mm.evaluation.report import report, write_json
from dino_mm.utils.files import fingerprint
from dino_mm.utils.launch import start_processes

from .sequences import VideoSequence, find_sequences, first_appearances, read_mask, write_mask

#: The published script divides by these. The first one is an error there (0.229 is right), but
#: the published results were computed with it.
STD = (0.228, 0.224, 0.225)


@dataclass
class Propagation:
    """Settings of the tracker; the defaults are published.

    Attributes:
        short_side (int): Short side of resized frames, in pixels.
        size_divisor (int): The longer side is rounded down to a multiple of it.
        n_last_frames (int): How many frames before the target give their labels, in addition to
            the frames in which objects were given.
        neighborhood (int): See :func:`propagate_labels`, with the three below.
        topk (int): See there.
        temperature (float): See there.
        chunk_size (int): See there.
    """

    short_side: int = 480
    size_divisor: int = 64
    n_last_frames: int = 7
    neighborhood: int = 12
    topk: int = 5
    temperature: float = 0.1
    chunk_size: int = 256

    def frame_size(self, width: int, height: int, patch_size: int) -> tuple[int, int]:
        """(width, height) that frames are resized to.

        Raises:
            ValueError: A size is not a multiple of the patch size.
        """
        for key in ('short_side', 'size_divisor'):
            value = getattr(self, key)
            if value % patch_size:
                raise ValueError(
                    f'--{key.replace("_", "-")} {value} is not a multiple of the patch size '
                    f'{patch_size}: take {max(value // patch_size, 1) * patch_size}'
                )
        short, long = sorted((width, height))
        long = int(self.short_side * long / short // self.size_divisor * self.size_divisor)
        if long == 0:
            raise ValueError(f'--short-side {self.short_side} is below --size-divisor')
        return (self.short_side, long) if height > width else (long, self.short_side)


def load_frame(path: Path, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """A frame of (width, height) ``source``, resized: uint8 (1, 3, H, W).

    Raises:
        ValueError: The frame differs in size from the first one of its sequence.
    """
    image = read_image(str(path))
    if image.size != source:
        raise ValueError(
            f'frame {path} is {image.width}x{image.height}, the first of its sequence '
            f'{source[0]}x{source[1]}: frames of one sequence must have one size'
        )
    pixels = cv2.resize(np.asarray(image), target)  # bilinear without smoothing, as published
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def track(
    frames: Iterable[tuple[Tensor, tuple[int, int]]],
    given: dict[int, np.ndarray],
    size: tuple[int, int],
    patch_size: int,
    settings: Propagation,
) -> Iterator[np.ndarray]:
    """Masks of a sequence, frame by frame.

    Every frame takes its labels from the frames in which objects were given and from the last
    ones before it. An object that appears later joins with its own mask.

    Args:
        frames (Iterable): Features (N, D) and grid (h, w) of each frame.
        given (dict[int, np.ndarray]): Masks (H, W) of new objects by frame, see
            :func:`first_appearances`.
        size (tuple[int, int]): (width, height) of the masks.
        patch_size (int): Pixels per cell.
        settings (Propagation): Settings of the tracker.

    Yields:
        np.ndarray: (H, W) uint8 object ids.
    """
    ids = [0]
    anchors: list[tuple[Tensor, Tensor]] = []
    recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=settings.n_last_frames)
    for position, (features, grid) in enumerate(frames):
        context = [*anchors, *recent]
        if context:
            labels = propagate_labels(
                features,
                torch.stack([f for f, _ in context]),
                # Older frames have no labels of objects that appeared after them.
                torch.stack([F.pad(m, (0, 0, 0, 0, 0, len(ids) - len(m))) for _, m in context]),
                settings.neighborhood,
                settings.topk,
                settings.temperature,
                settings.chunk_size,
            )
        else:
            labels = torch.ones(1, *grid, device=features.device)  # background
        new = given.get(position)
        fresh = [] if new is None else sorted(set(np.unique(new).tolist()) - {0})
        if fresh:
            ids += fresh
            labels = _give(labels, new, ids)
        mask = np.array(ids, np.uint8)[labels_to_mask(labels, patch_size).cpu().numpy()]
        mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        if fresh:  # the masks of new objects are known exactly
            mask = np.where(new > 0, new, np.where(np.isin(mask, fresh), 0, mask))
        (anchors if fresh else recent).append((features, labels))
        yield mask


def _give(labels: Tensor, new: np.ndarray, ids: list[int]) -> Tensor:
    """Adds new objects to labels (C, h, w) and returns labels (len(ids), h, w)."""
    labels = F.pad(labels, (0, 0, 0, 0, 0, len(ids) - len(labels)))
    height, width = labels.shape[1:]
    small = Image.fromarray(new).resize((width, height), Image.Resampling.NEAREST)
    small = torch.from_numpy(np.array(small)).to(labels.device)
    hard = torch.stack([small == number for number in ids]).to(labels.dtype)
    return torch.where(small > 0, hard, labels)


@torch.no_grad()
def segment(
    backbone: FrozenBackbone,
    sequence: VideoSequence,
    given: dict[int, np.ndarray],
    size: tuple[int, int],
    settings: Propagation,
    num_workers: int = 0,
) -> Iterator[np.ndarray]:
    """Masks of a sequence from its image files; see :func:`track`."""
    patch_size = backbone.patch_size
    target = settings.frame_size(*size, patch_size)
    grid = (target[1] // patch_size, target[0] // patch_size)
    dataset = Loaded(sequence.frames, partial(load_frame, source=size, target=target))
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers)

    def encoded() -> Iterator[tuple[Tensor, tuple[int, int]]]:
        for path, frame in zip(sequence.frames, loader, strict=True):
            tokens = backbone.tokens(backbone.normalize(frame))[0]
            features = tokens[-grid[0] * grid[1] :]
            require_finite(features, f'features of cells of {path}')
            yield features, grid

    yield from track(encoded(), given, size, patch_size, settings)


def score(
    sequence: VideoSequence,
    truth: dict[int, np.ndarray],
    given: dict[int, np.ndarray],
    predicted: Sequence[np.ndarray],
) -> tuple[dict[int, dict], str | None]:
    """J and F of every object, over the frames after the one it is given in but the last.

    Returns:
        tuple: Scores by object id; and if some or all are missing the reason, else None.
    """
    total = len(sequence.frames)
    if not given:
        return {}, 'its masks hold no objects'
    if len(truth) < total:
        return {}, f'{len(truth)} of {total} frames are annotated'
    if total < 3:
        return {}, f'{total} frames: the first and the last are left out'
    scores, late = {}, []
    for start_frame, mask in given.items():
        frames = range(start_frame + 1, total - 1)
        for number in sorted(set(np.unique(mask).tolist()) - {0}):
            if len(frames) == 0:
                late.append(number)
                continue
            annotation = np.stack([truth[frame] == number for frame in frames])
            segmentation = np.stack([predicted[frame] == number for frame in frames])
            scores[number] = object_scores(annotation, segmentation)
    return scores, f'objects {late} appear at the end' if late else None


def evaluate_sequence(
    backbone: FrozenBackbone,
    sequence: VideoSequence,
    settings: Propagation,
    work_dir: Path,
    num_workers: int = 0,
    advance: Callable[[int], object] = lambda frames: None,
) -> dict:
    """Segments a sequence, writes its masks and scores them, unless this was done before.

    Masks are written to ``WORK_DIR/masks/SEQUENCE/FRAME.png``; ``WORK_DIR/finished/SEQUENCE.json``
    has the scores and a digest of the settings.

    Args:
        advance (Callable): Is called with the number of finished frames, for a progress bar.
    """
    files = [*sequence.frames, *sequence.masks.values()]
    key = fingerprint(backbone.fingerprint, settings, files=files)
    finished = work_dir / 'finished' / f'{sequence.name}.json'
    if finished.is_file():
        content = json.loads(finished.read_text())
        if content['key'] == key:
            advance(len(sequence.frames))
            return content['result']
    size = read_image(str(sequence.frames[0])).size
    truth = {position: read_mask(path, size) for position, path in sequence.masks.items()}
    given = first_appearances(truth)
    predicted = []
    for mask in segment(backbone, sequence, given, size, settings, num_workers):
        name = sequence.frames[len(predicted)].stem
        write_mask(mask, work_dir / 'masks' / sequence.name / f'{name}.png')
        predicted.append(mask)
        advance(1)
    scores, note = score(sequence, truth, given, predicted)
    result = dict(sequence=sequence.name, frames=len(predicted), objects=scores, note=note)
    write_json(dict(key=key, result=result), finished)
    return json.loads(finished.read_text())['result']


def evaluate(
    backbone: FrozenBackbone,
    sequences: Sequence[VideoSequence],
    settings: Propagation | None = None,
    work_dir: str = 'work_dirs/video_segmentation',
    num_workers: int = 2,
) -> list[dict]:
    """Results of :func:`evaluate_sequence` for all sequences, which the processes share."""
    settings = settings or Propagation()
    share = sequences[get_rank() :: get_world_size()]
    bar = tqdm(
        total=sum(len(sequence.frames) for sequence in share),
        desc='frames',
        mininterval=1,
        disable=not is_main_process(),
    )
    results = []
    for sequence in share:
        bar.set_postfix_str(sequence.name)
        results.append(
            evaluate_sequence(backbone, sequence, settings, Path(work_dir), num_workers, bar.update)
        )
    bar.close()
    return gather(results, len(sequences))


def summarize(results: Sequence[dict]) -> dict[str, float]:
    """Means over all objects of all sequences, as fractions; NaN if no object was scored.

    Source: ``evaluation_method.py`` of davis2017-evaluation.
    """
    objects = [scores for result in results for scores in result['objects'].values()]
    summary = {
        f'{metric} {key}': float(np.mean([scores[metric][key] for scores in objects]))
        if objects
        else float('nan')
        for metric in ('J', 'F')
        for key in ('mean', 'recall', 'decay')
    }
    return {'J&F mean': (summary['J mean'] + summary['F mean']) / 2} | summary


def table(results: Sequence[dict]) -> list[dict]:
    """Rows of the table in percent: every object, then the mean over objects."""
    rows = []
    for result in results:
        for number, scores in result['objects'].items():
            values = summarize([dict(objects={number: scores})])
            rows.append(dict(object=f'{result["sequence"]} {number}') | values)
        if not result['objects']:
            rows.append(dict(object=result['sequence']) | summarize([result]))
    rows.append(dict(object='all objects') | summarize(results))
    return [
        {key: 100 * value if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser(
        'Video object segmentation by label propagation.', 'work_dirs/video_segmentation'
    )
    published = Propagation()
    parser.add_argument('--image-dir', default='JPEGImages/480p', help='folder of frame folders')
    parser.add_argument('--mask-dir', default='Annotations/480p', help='folder of mask folders')
    parser.add_argument('--split', default='ImageSets/2017/val.txt', help='list of sequences')
    parser.add_argument('--sequences', nargs='+', help='these sequences instead')
    helps = dict(
        short_side='short side of resized frames, in pixels',
        size_divisor='the longer side is rounded down to a multiple of it',
        n_last_frames='how many frames before the target give their labels',
        neighborhood='how far to search around a cell, in cells to each side; 0 for all cells',
        topk='how many similar cells give their labels',
        temperature='temperature of their weights',
        chunk_size='target cells at a time: fewer need less memory',
    )
    for key, text in helps.items():
        default = getattr(published, key)
        parser.add_argument(
            f'--{key.replace("_", "-")}', type=type(default), default=default, help=text
        )
    parser.add_argument('--neighbourhood', dest='neighborhood', type=int, action=OldOption)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    settings = Propagation(**{key: getattr(args, key) for key in asdict(Propagation())})
    sequences = find_sequences(
        args.data_root, args.image_dir, args.mask_dir, args.split, args.sequences
    )
    start_processes(args.launcher)
    backbone = load_frozen_backbone(args, std=STD)
    results = evaluate(backbone, sequences, settings, args.work_dir, args.num_workers)
    result = dict(
        backbone=backbone.source,
        settings=asdict(settings),
        summary=summarize(results),
        sequences=results,
    )
    path = Path(args.work_dir) / 'davis.json'
    report(f'Video object segmentation: {backbone.name}', table(results), result, path)
    if is_main_process():
        for entry in results:
            if entry['note']:
                print(f'{entry["sequence"]} is not (fully) scored: {entry["note"]}')
    return result
