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


def _box_error(box: object, width: float, height: float, tolerance: float) -> str | None:
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, int | float) and math.isfinite(value) for value in box)
    ):
        return 'bbox is not four numbers'
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return 'box without area'
    if min(x, y) < -tolerance or x + w > width + tolerance or y + h > height + tolerance:
        return 'box outside its image'
    return None


def check_coco(
    annotation_file: str | os.PathLike, image_root: str | os.PathLike, tolerance: float = 1.0
) -> CocoReport:
    """Looks for what breaks or misleads a training run.

    Missing and unreadable images, sizes that differ from the file's, boxes without area or beyond
    their image, unknown images and categories, ids and file names that occur twice. Polygons are
    not looked at.

    Args:
        annotation_file (str): The COCO file.
        image_root (str): What its file names are relative to.
        tolerance (float): Pixels by which a box may reach beyond its image.

    Returns:
        CocoReport: Counts and errors.

    Raises:
        ValueError: The file is not JSON or lacks images, annotations or categories.
    """
    try:
        content = json.loads(Path(annotation_file).read_text())
    except ValueError as error:
        raise ValueError(f'{annotation_file} is not JSON: {error}') from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f'{annotation_file} is not a COCO file: it lacks the list {key!r}')

    report = CocoReport()
    errors = report.errors
    for key, needed in dict(
        images=('id', 'file_name', 'width', 'height'),
        annotations=('id', 'image_id', 'category_id', 'bbox'),
        categories=('id', 'name'),
    ).items():
        whole = []
        for item in content[key]:
            entry = item if isinstance(item, dict) else {}
            lacks = [name for name in needed if entry.get(name) is None]
            if lacks:
                errors[f'entry of {key} lacks {", ".join(lacks)}'].append(json.dumps(item)[:100])
            else:
                whole.append(item)
        content[key] = whole
        for name in [name for name in needed if name in ('id', 'file_name', 'name')]:
            duplicates = _duplicates(item[name] for item in whole)
            if duplicates:
                errors[f'{name} of {key} twice'] += map(str, duplicates)

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

    with_boxes = {annotation['image_id'] for annotation in content['annotations']}
    report.counts['images'] = len(content['images'])
    report.counts['images without boxes'] = len(images.keys() - with_boxes)
    report.counts['boxes'] = len(content['annotations'])
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
    args = parser.parse_args(arguments)
    report = check_coco(args.annotations, args.images, args.tolerance)
    print(report.text())
    sys.exit(1 if report.errors else 0)
