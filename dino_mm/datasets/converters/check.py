"""Verifies a COCO file against its images."""

import argparse
import json
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .coco import image_size


@dataclass
class CocoReport:
    """What a check found.

    Attributes:
        counts (Counter): Images, boxes and boxes by category.
        errors (dict[str, list[str]]): Kind of error to the places where it is.
    """

    counts: Counter = field(default_factory=Counter)
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def text(self, examples: int = 5) -> str:
        """Counts, then every kind of error with its first examples."""
        lines = [f'{count:>9,} {name}' for name, count in self.counts.items()]
        for kind, places in self.errors.items():
            lines.append(f'{len(places):>9,} ERROR: {kind}')
            lines += [f'          - {place}' for place in places[:examples]]
            if len(places) > examples:
                lines.append(f'          - and {len(places) - examples:,} more')
        return '\n'.join(lines if self.errors else [*lines, '          no errors'])


def _duplicates(values: Iterable) -> list:
    return [value for value, count in Counter(values).items() if count > 1]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_positive(value: object) -> bool:
    return _is_number(value) and value > 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_key(value: object) -> bool:
    return isinstance(value, int | str)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


#: What mmdet's loader and metric read of every entry: a test, and in words what it asks for.
ENTRIES = dict(
    images=dict(
        id=(_is_key, 'an integer or text'),
        file_name=(_is_text, 'text'),
        width=(_is_positive, 'a number above 0'),
        height=(_is_positive, 'a number above 0'),
    ),
    annotations=dict(
        # The metric writes the id where a box was found, and 0 where none was.
        id=(lambda value: isinstance(value, int) and value != 0, 'an integer other than 0'),
        image_id=(_is_key, 'an integer or text'),
        category_id=(_is_key, 'an integer or text'),
        bbox=(lambda value: _is_numbers(value) and len(value) == 4, 'four numbers'),
        area=(_is_positive, 'a number above 0'),
        iscrowd=(lambda value: _is_number(value) and value in (0, 1), '0 or 1'),
    ),
    categories=dict(id=(_is_key, 'an integer or text'), name=(_is_text, 'text')),
)
#: Keys without which the rest of an annotation can still be checked.
OWN_KEYS = {'area', 'iscrowd'}


def _check_entries(key: str, entries: list, errors: dict[str, list[str]]) -> list[dict]:
    """Notes what entries lack or have wrong; returns those that can be looked at further."""
    whole = []
    for item in entries:
        entry = item if isinstance(item, dict) else {}
        lacks = [name for name in ENTRIES[key] if entry.get(name) is None]
        wrong = {
            name: words
            for name, (test, words) in ENTRIES[key].items()
            if name not in lacks and not test(entry[name])
        }
        if lacks:
            errors[f'entry of {key} lacks {", ".join(lacks)}'].append(json.dumps(item)[:100])
        for name, words in wrong.items():
            errors[f'{name} of {key} is not {words}'].append(json.dumps(item)[:100])
        if not {*lacks, *wrong} - OWN_KEYS and isinstance(item, dict):
            whole.append(item)
    for name in [name for name in ENTRIES[key] if name in ('id', 'file_name', 'name')]:
        duplicates = _duplicates(item[name] for item in whole)
        if duplicates:
            errors[f'{name} of {key} twice'] += map(str, duplicates)
    if len({isinstance(item['id'], str) for item in whole}) > 1:
        errors[f'id of {key} is partly a number, partly text'].append('the metric sorts them')
    return whole


def _box_error(box: list, width: float, height: float, tolerance: float) -> str | None:
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return 'box without area'
    if min(x, y) < -tolerance or x + w > width + tolerance or y + h > height + tolerance:
        return 'box outside its image'
    return None


def _mask_error(mask: object, width: float, height: float) -> str | None:
    """What is wrong with a ``segmentation``: polygons, or a run-length code of the image's size."""
    if isinstance(mask, list):
        if all(_is_numbers(part) and len(part) >= 6 and len(part) % 2 == 0 for part in mask):
            return None
        return 'segmentation is not polygons of three or more points'
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), list | str):
        return 'segmentation is neither polygons nor a run-length code'
    if mask.get('size') != [height, width]:
        return 'size of a run-length code is not height and width of its image'
    return None


def check_coco(
    annotation_file: str | os.PathLike,
    image_root: str | os.PathLike,
    tolerance: float = 1.0,
    masks: bool = False,
) -> CocoReport:
    """Looks for what breaks or misleads a training run.

    Entries without a key that mmdet's data set or metric reads, or with one of another type,
    missing and unreadable images, sizes that differ from the file's, boxes without area or beyond
    their image, malformed masks, unknown images and categories, ids and file names that occur
    twice.

    Args:
        annotation_file (str): The COCO file.
        image_root (str): What its file names are relative to.
        tolerance (float): Pixels by which a box may reach beyond its image.
        masks (bool): Whether every box needs a mask, as configs with masks do.

    Returns:
        CocoReport: Counts and errors.

    Raises:
        ValueError: The file is not JSON or lacks images, annotations or categories.
    """
    try:
        content = json.loads(Path(annotation_file).read_text())
    except ValueError as error:
        raise ValueError(f'{annotation_file} is not JSON: {error}') from error
    for key in ENTRIES:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f'{annotation_file} is not a COCO file: it lacks the list {key!r}')

    report = CocoReport()
    errors = report.errors
    for key in ENTRIES:
        content[key] = _check_entries(key, content[key], errors)

    images = {image['id']: image for image in content['images']}
    categories = {category['id']: category['name'] for category in content['categories']}
    for image in tqdm(images.values(), desc='images', unit='image'):
        path = Path(image_root) / image['file_name']
        stated = (image['width'], image['height'])
        try:
            size = image_size(path)
        except FileNotFoundError:
            errors['missing image'].append(str(path))
        except ValueError:
            errors['unreadable image'].append(str(path))
        else:
            if size != stated:
                errors['size differs from the image'].append(f'{path}: {stated}, is {size}')

    thin = without_mask = 0
    boxes_of = Counter(dict.fromkeys(categories.values(), 0))
    for annotation in tqdm(content['annotations'], desc='boxes', unit='box'):
        place = f'annotation {annotation["id"]}'
        if annotation['category_id'] in categories:
            boxes_of[categories[annotation['category_id']]] += 1
        else:
            errors['unknown category'].append(f'{place}: {annotation["category_id"]}')
        image = images.get(annotation['image_id'])
        if image is None:
            errors['annotation of an unknown image'].append(f'{place}: {annotation["image_id"]}')
            continue
        error = _box_error(annotation['bbox'], image['width'], image['height'], tolerance)
        if error:
            size = f'{image["width"]} x {image["height"]}'
            errors[error].append(f'{place}: {annotation["bbox"]} in {image["file_name"]} ({size})')
        thin += min(annotation['bbox'][2:]) < 1
        mask = annotation.get('segmentation')
        if mask:
            error = _mask_error(mask, image['width'], image['height'])
            if error:
                errors[error].append(f'{place}: {json.dumps(mask)[:60]}')
        else:
            without_mask += 1
            if masks:
                errors['annotation lacks segmentation'].append(place)

    with_boxes = {annotation['image_id'] for annotation in content['annotations']}
    report.counts['images'] = len(content['images'])
    report.counts['images without boxes'] = len(images.keys() - with_boxes)
    report.counts['boxes'] = len(content['annotations'])
    report.counts['boxes without a mask'] = without_mask
    report.counts['boxes thinner than a pixel, not trained on'] = thin
    report.counts.update({f'  {name}': count for name, count in boxes_of.items()})
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description='Verify a COCO file against its images; exits with 1 where it has errors.'
    )
    parser.add_argument('annotations', help='COCO file')
    parser.add_argument('images', help='folder that its file names are relative to')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1.0,
        help='pixels by which a box may reach beyond its image (default: 1)',
    )
    parser.add_argument(
        '--masks', action='store_true', help='ask for a mask of every box, as configs with masks do'
    )
    args = parser.parse_args(arguments)
    report = check_coco(args.annotations, args.images, args.tolerance, args.masks)
    print(report.text())
    sys.exit(1 if report.errors else 0)
