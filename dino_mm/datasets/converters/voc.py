"""Boxes of Pascal VOC 2007 and 2012 to COCO."""

import argparse
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .coco import CocoBuilder, image_size

#: In the order of the development kit, ids 1 to 20.
CATEGORIES = (
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
)


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f'<{element.tag}> lacks <{path}>')
    return text


def read_objects(path: str | os.PathLike) -> list[tuple[str, tuple[float, ...], bool]]:
    """Category, box and ``difficult`` of every object of an XML file.

    VOC counts pixels from 1 and includes the last one: pixels xmin to xmax span xmin - 1 to xmax.
    Parts of a person (head, hand, foot) are no objects of their own.

    Raises:
        ValueError: The file is not XML, or an object lacks a field.
    """
    try:
        objects = []
        for item in ET.parse(path).getroot().findall('object'):
            x1, y1, x2, y2 = (
                float(_text(item, f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax')
            )
            difficult = item.findtext('difficult', '0').strip() == '1'
            objects.append((_text(item, 'name').strip(), (x1 - 1, y1 - 1, x2, y2), difficult))
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from error
    return objects


def read_split(devkit: Path, part: str) -> tuple[Path, list[str]]:
    """Folder of a year and the image ids of ``part``, as in ``VOC2007/trainval``.

    Raises:
        FileNotFoundError: No such list.
    """
    year, _, split = part.partition('/')
    lists = devkit / year / 'ImageSets' / 'Main'
    path = lists / f'{split}.txt'
    if not path.is_file():
        found = ', '.join(
            f'{year}/{p.stem}' for p in sorted(lists.glob('*.txt')) if '_' not in p.stem
        )
        raise FileNotFoundError(f'{path} does not exist; {devkit} holds {found or "no lists"}')
    return devkit / year, [
        line.split()[0] for line in path.read_text().splitlines() if line.strip()
    ]


def convert_voc(
    devkit: str | os.PathLike,
    output: str | os.PathLike,
    parts: Sequence[str],
    skip_missing: bool = False,
) -> CocoBuilder:
    """Writes the boxes of one or more image lists in COCO's format.

    Objects marked as difficult become ``iscrowd``: as in VOC's own evaluation they are neither
    required nor counted against a detector, and they are not trained on. Sizes are read from the
    images.

    Args:
        devkit (str): Folder ``VOCdevkit``; file names in the output are relative to it.
        output (str): The COCO file, replaced where it exists.
        parts (Sequence[str]): Year and list, as in ``['VOC2007/trainval', 'VOC2012/trainval']``.
        skip_missing (bool): Whether to leave out, and count, ids without an image.

    Returns:
        CocoBuilder: With counts and report.

    Raises:
        FileNotFoundError: A list, an image or an XML file is missing.
        ValueError: An XML file is broken or names an unknown category.
    """
    devkit = Path(devkit)
    builder = CocoBuilder(CATEGORIES)
    for part in parts:
        folder, ids = read_split(devkit, part)
        for image_id in tqdm(ids, desc=part, unit='image'):
            image = folder / 'JPEGImages' / f'{image_id}.jpg'
            annotation = folder / 'Annotations' / f'{image_id}.xml'
            if skip_missing and not image.exists():
                builder.counts['ids left out: no such image'] += 1
                continue
            for path in (image, annotation):
                if not path.exists():
                    raise FileNotFoundError(
                        f'{path} is missing, but listed in {part}: extract the archive again, or '
                        'leave ids without an image out by --skip-missing'
                    )
            builder.add_image(image.relative_to(devkit).as_posix(), *image_size(image))
            for category, box, difficult in read_objects(annotation):
                if category not in builder.ids:
                    raise ValueError(f'{annotation}: unknown category {category!r}')
                builder.add_box(category, box, crowd=difficult)
    builder.write(output)
    return builder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Boxes of Pascal VOC to COCO.')
    parser.add_argument('devkit', help='folder VOCdevkit')
    parser.add_argument('output', help='COCO file, as in data/VOCdevkit/voc07_trainval.json')
    parser.add_argument('parts', nargs='+', help='year and list, as in VOC2007/trainval')
    parser.add_argument(
        '--skip-missing', action='store_true', help='leave out ids without an image'
    )
    args = parser.parse_args(arguments)
    builder = convert_voc(args.devkit, args.output, args.parts, args.skip_missing)
    print(f'{args.output}\n{builder.report()}')
