"""Builds a COCO annotation file, box by box."""

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

#: EXIF orientations that swap width and height.
QUARTER_TURNS = (5, 6, 7, 8)


class CocoBuilder:
    """Collects images and boxes in COCO's format and counts all that it meets.

    Boxes are cut at the border of their image. Those of no area, wholly outside or with undefined
    coordinates are left out and counted, so that no training run meets them.

    Args:
        categories (Sequence[str]): Names; their ids are 1, 2, ... in this order.

    Attributes:
        counts (Counter): What was met, by its name in the report.
        boxes_of (Counter): Kept boxes by category.

    Example:
        >>> builder = CocoBuilder(['cat', 'dog'])
        >>> builder.add_image('a.jpg', width=40, height=30)
        >>> builder.add_box('dog', (-5, 0, 10, 30))
        >>> builder.content['annotations'][0]['bbox'], builder.counts['boxes cut at the border']
        ([0.0, 0.0, 10.0, 30.0], 1)
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self.ids = {name: i for i, name in enumerate(categories, start=1)}
        self.content = dict(
            info=dict(description='Written by dino_mm'),  # read by pycocotools 2.0.9 and 2.0.10
            images=[],
            annotations=[],
            categories=[dict(id=i, name=name) for name, i in self.ids.items()],
        )
        self.counts = Counter({'images': 0, 'images without boxes': 0, 'boxes': 0})
        self.boxes_of = Counter(dict.fromkeys(categories, 0))
        self._file_names = set()

    def add_image(self, file_name: str, width: int, height: int) -> None:
        """Starts an image, which may stay without boxes.

        Raises:
            ValueError: The file name was added before.
        """
        if file_name in self._file_names:
            raise ValueError(f'image {file_name} is labeled twice')
        self._file_names.add(file_name)
        self.counts['images'] += 1
        self.counts['images without boxes'] += 1
        images = self.content['images']
        images.append(dict(id=len(images) + 1, file_name=file_name, width=width, height=height))

    def add_box(self, category: str, box: Sequence[float], crowd: bool = False) -> None:
        """Adds a box to the image that was added last.

        Args:
            category (str): One of the categories.
            box (Sequence[float]): x1, y1, x2, y2 in pixels; the image spans 0 to its size.
            crowd (bool): Neither trained on nor counted in evaluation (``iscrowd``).
        """
        image = self.content['images'][-1]
        x1, y1, x2, y2 = (float(value) for value in box)
        left, top = max(x1, 0.0), max(y1, 0.0)
        right, bottom = min(x2, float(image['width'])), min(y2, float(image['height']))
        if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
            self.counts['boxes left out: undefined coordinates'] += 1
        elif x2 <= x1 or y2 <= y1:
            self.counts['boxes left out: no area'] += 1
        elif right <= left or bottom <= top:
            self.counts['boxes left out: outside the image'] += 1
        else:
            self.counts['boxes cut at the border'] += (left, top, right, bottom) != (x1, y1, x2, y2)
            self.counts['boxes'] += 1
            self.counts['boxes marked as crowd'] += crowd
            self.boxes_of[category] += 1
            annotations = self.content['annotations']
            if not annotations or annotations[-1]['image_id'] != image['id']:
                self.counts['images without boxes'] -= 1
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=self.ids[category],
                    bbox=[left, top, right - left, bottom - top],
                    area=(right - left) * (bottom - top),
                    iscrowd=int(crowd),
                )
            )

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file whole or not at all, so that an interrupted run leaves no half of it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + '.part')
        part.write_text(json.dumps(self.content))
        os.replace(part, path)

    def report(self) -> str:
        """The counts as lines of text."""
        rows = [*self.counts.items(), *((f'  {name}', n) for name, n in self.boxes_of.items())]
        return '\n'.join(f'{count:>9,} {name}' for name, count in rows)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height in pixels, turned by EXIF as mmcv loads the image.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not an image.
    """
    try:
        with Image.open(path) as image:
            if image.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS:
                return ImageOps.exif_transpose(image).size
            return image.size  # of the header, without decoding
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} is not a readable image: {error}') from error
