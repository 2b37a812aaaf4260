"""A look at the images of a folder: how many, how large, of what kind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .image_folder import find_images
from .transforms import read_tensor


@dataclass(frozen=True)
class Survey:
    """What is known of the images.

    Attributes:
        count: Images found.
        passed_over: Text on what else there is; empty if nothing.
        sampled: How many of them were opened.
        side: Median of their short sides in pixels.
        sizes: Smallest and largest short side.
        gray: Whether all of them are gray.
        alike: Of the sampled ones, those that look like another one.
        constant: Of the sampled ones, those of one value only.
        unreadable: What is wrong with those that could not be read.
    """

    count: int
    passed_over: str = ''
    sampled: int = 0
    side: int = 224
    sizes: tuple[int, int] = (224, 224)
    gray: bool = False
    alike: int = 0
    constant: int = 0
    unreadable: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a person should know, a sentence each."""
        said = [
            f'{self.count:,} images'
            + (f'; passed over: {self.passed_over}' * bool(self.passed_over))
        ]
        low, high = self.sizes
        size = f'{low}' if low == high else f'{low} to {high} (median {self.side})'
        said.append(
            f'{"Gray" if self.gray else "Color"} images, short side {size} pixels, by '
            f'{self.sampled} of them'
        )
        for number, what in (
            (self.alike, 'look almost like another one: leave duplicates out'),
            (self.constant, 'have one value only, and teach nothing'),
        ):
            if number:
                said.append(f'{number} of these {self.sampled} images {what}')
        if self.unreadable:
            said.append(
                f'{len(self.unreadable)} could not be read and will be passed over: '
                f'{self.unreadable[0]}'
            )
        return said


def survey_folder(root: str | Sequence[str], most: int = 200, seconds: float = 5.0) -> Survey:
    """Counts images and opens some of them, spread evenly.

    Args:
        root (str | Sequence[str]): As ``data_root`` of :class:`UnlabelledImageFolder`.
        most (int): Images that are opened at most.
        seconds (float): Time after which no further one is opened.

    Raises:
        FileNotFoundError: No folder, or no image in it.
        OSError: None of the images opened could be read.
        ValueError: Values of unknown range; see ``LoadImage.value_range``.
    """
    found = find_images(root)
    files, start = found.files, time.monotonic()
    chosen = sorted({index * len(files) // most for index in range(most)})
    images: list[Tensor] = []
    unreadable: list[str] = []
    for index in chosen:
        if images and time.monotonic() - start > seconds:
            break
        try:
            images.append(_thumbnail(files[index]))
        except OSError as error:
            unreadable.append(str(error))
    if not images:
        raise OSError(f'none of {len(unreadable)} images could be read. The first: {unreadable[0]}')
    sides = [int(image.side) for image in images]
    return Survey(
        count=len(files),
        passed_over=found.describe_passed_over(),
        sampled=len(images) + len(unreadable),
        side=int(median(sides)),
        sizes=(min(sides), max(sides)),
        gray=all(image.gray for image in images),
        alike=count_alike([image.small for image in images if not image.constant]),
        constant=sum(image.constant for image in images),
        unreadable=unreadable,
    )


def count_alike(images: Sequence[Tensor], levels: float = 4.0) -> int:
    """Images that differ from an earlier one by so few levels on average, (3, h, w) each."""
    if not images:
        return 0
    flat = torch.stack([*images]).flatten(1)  # (N, 3 h w)
    distances = torch.cdist(flat, flat, p=1) / flat.shape[1]
    return int((distances.tril(-1) + torch.ones_like(distances).triu() * 256 < levels).any(1).sum())


@dataclass(frozen=True)
class _Thumbnail:
    """What is remembered of one image."""

    side: int
    gray: bool
    constant: bool
    small: Tensor  # (3, 8, 8), 0 to 255


def _thumbnail(path: str) -> _Thumbnail:
    image = read_tensor(path)
    return _Thumbnail(
        side=min(image.shape[1:]),
        gray=bool(torch.equal(image[0], image[1]) and torch.equal(image[1], image[2])),
        constant=bool(image.amin() == image.amax()),
        small=interpolate(image[None].float(), (8, 8), mode='area')[0],
    )
