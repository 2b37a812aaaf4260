"""Boxes of BDD100K (arXiv 1805.04687), in both released formats, to COCO."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .coco import CocoBuilder, image_size

#: Evaluated categories, ids 1 to 10 in this order: those of the documentation for the labels of
#: 2020 (https://doc.bdd100k.com/format.html), of the toolkit's bdd100k2coco.py for those of 2018.
CATEGORIES = {
    'det_20': (
        'pedestrian',
        'rider',
        'car',
        'truck',
        'bus',
        'train',
        'motorcycle',
        'bicycle',
        'traffic light',
        'traffic sign',
    ),
    '2018': (
        'person',
        'rider',
        'car',
        'bus',
        'truck',
        'bike',
        'motor',
        'traffic light',
        'traffic sign',
        'train',
    ),
}
#: Released but not evaluated: the toolkit's det.toml has them ignored as these categories.
IGNORED_AS = {'other person': 'pedestrian', 'other vehicle': 'car', 'trailer': 'truck'}
#: Every frame of the data set.
FRAME_SIZE = (1280, 720)


def detect_format(frames: Sequence[dict]) -> str:
    """Which release labels belong to: ``'det_20'`` or ``'2018'``.

    Raises:
        ValueError: Categories of both.
    """
    labels = [label for frame in frames for label in frame.get('labels') or ()]
    names = {label.get('category') for label in labels}
    newer = names & {*CATEGORIES['det_20'], *IGNORED_AS} - set(CATEGORIES['2018'])
    older = names & {*CATEGORIES['2018'], 'drivable area', 'lane'} - set(CATEGORIES['det_20'])
    if newer and older:
        raise ValueError(f'categories of two formats: {sorted(newer)} and {sorted(older)}')
    if older or (not newer and any('manualShape' in label for label in labels)):
        return '2018'
    return 'det_20'


def load_frames(labels: str | os.PathLike) -> list[dict]:
    """Reads a label file.

    Raises:
        ValueError: Not JSON, or not a list of frames.
    """
    try:
        frames = json.loads(Path(labels).read_text())
    except ValueError as error:
        raise ValueError(f'{labels} is not JSON: {error}') from error
    if not isinstance(frames, list) or not all(
        isinstance(frame, dict) and 'name' in frame for frame in frames
    ):
        raise ValueError(
            f'{labels} is not a list of frames with names: give labels/det_20/det_train.json or '
            'labels/bdd100k_labels_images_train.json as released'
        )
    return frames


def convert_bdd100k(
    labels: str | os.PathLike,
    output: str | os.PathLike,
    images: str | os.PathLike | None = None,
    label_format: str = 'auto',
    skip_missing: bool = False,
) -> CocoBuilder:
    """Writes the boxes of one label file in COCO's format.

    Frames without objects stay. Lanes, drivable areas and all else without a box are skipped and
    counted. A box from x1 to x2 is x2 - x1 wide, as released, without the pixel that Scalabel's
    own conversion adds. Boxes marked as crowd, and the categories that are released but not
    evaluated, become ``iscrowd``.

    Args:
        labels (str): ``det_{train,val}.json`` or ``bdd100k_labels_images_{train,val}.json``.
        output (str): The COCO file, replaced where it exists.
        images (str, optional): Folder of the frames, to verify them and to read their sizes. By
            default no frame is looked for and all are taken as 1280 x 720.
        label_format (str): ``'det_20'``, ``'2018'``, or ``'auto'`` by the categories.
        skip_missing (bool): Whether to leave out, and count, frames that ``images`` lacks.

    Returns:
        CocoBuilder: With counts and report.

    Raises:
        FileNotFoundError: A labeled frame is missing.
        ValueError: The file is no label file, names an unknown category, or a frame twice.
    """
    frames = load_frames(labels)
    if label_format == 'auto':
        label_format = detect_format(frames)
    builder = CocoBuilder(CATEGORIES[label_format])
    for frame in tqdm(frames, desc=Path(output).name, unit='frame'):
        size = FRAME_SIZE
        if images is not None:
            path = Path(images) / frame['name']
            if path.exists():
                size = image_size(path)
            elif skip_missing:
                builder.counts['frames left out: no such image'] += 1
                continue
            else:
                raise FileNotFoundError(
                    f'{path} is labeled in {labels}, but missing: set --images to the folder of '
                    'these frames, or leave such frames out by --skip-missing'
                )
        try:
            builder.add_image(frame['name'], *size)
            for label in frame.get('labels') or ():
                _add_label(builder, label)
        except KeyError as error:
            raise ValueError(f'{labels}, {frame["name"]}: a label lacks {error}') from error
        except (TypeError, ValueError) as error:
            raise ValueError(f'{labels}, {frame["name"]}: {error}') from error
    builder.write(output)
    return builder


def _add_label(builder: CocoBuilder, label: dict) -> None:
    category = label['category']
    box = label.get('box2d')
    if box is None:
        builder.counts[f'labels left out: {category} without a box'] += 1
        return
    crowd = bool((label.get('attributes') or {}).get('crowd'))
    if category not in builder.ids and IGNORED_AS.get(category) in builder.ids:
        category, crowd = IGNORED_AS[category], True
    if category not in builder.ids:
        raise ValueError(
            f'unknown category {category!r}, known are {", ".join(builder.ids)}: is --format right?'
        )
    builder.add_box(category, [box[key] for key in ('x1', 'y1', 'x2', 'y2')], crowd)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Boxes of BDD100K to COCO.')
    parser.add_argument(
        'labels', help='label file, as in data/bdd100k/labels/det_20/det_train.json'
    )
    parser.add_argument('output', help='COCO file, as in data/bdd100k/annotations/det_train.json')
    parser.add_argument(
        '--images',
        help='folder of the frames, to verify them, as in data/bdd100k/images/100k/train',
    )
    parser.add_argument(
        '--format',
        choices=('auto', *CATEGORIES),
        default='auto',
        help='release of the labels; auto tells by their categories',
    )
    parser.add_argument(
        '--skip-missing', action='store_true', help='leave out frames that --images lacks'
    )
    args = parser.parse_args(arguments)
    builder = convert_bdd100k(args.labels, args.output, args.images, args.format, args.skip_missing)
    print(f'{args.output}\n{builder.report()}')
