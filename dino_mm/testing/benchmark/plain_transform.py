"""The published augmentation, plain: torchvision and Pillow, sample by sample to float crops."""

import random

from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms as T

from dino_mm.models.preprocessors.multi_crop import IMAGENET_MEAN, IMAGENET_STD


def _gaussian_blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


class PlainMultiCrop:
    """A PIL image to normalized crops: two of 224 pixels, ``num_local`` of 96.

    Example:
        >>> len(PlainMultiCrop(num_local=1)(Image.new('RGB', (320, 240))))
        3
    """

    def __init__(self, num_local: int = 8) -> None:
        jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
        solarize = T.RandomApply([T.Lambda(ImageOps.solarize)], p=0.2)

        def view(size: int, scale: tuple[float, float], blur: float, *last) -> T.Compose:
            bicubic = T.InterpolationMode.BICUBIC
            return T.Compose(
                [
                    T.RandomResizedCrop(size, scale=scale, interpolation=bicubic),
                    T.RandomHorizontalFlip(),
                    jitter,
                    T.RandomGrayscale(p=0.2),
                    T.RandomApply([T.Lambda(_gaussian_blur)], p=blur),
                    *last,
                    T.ToTensor(),
                    T.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                ]
            )

        self.views = [
            view(224, (0.4, 1.0), 1.0),
            view(224, (0.4, 1.0), 0.1, solarize),
            *[view(96, (0.05, 0.4), 0.5)] * num_local,
        ]

    def __call__(self, image: Image.Image) -> list[Tensor]:
        return [view(image) for view in self.views]


def load_plain(path: str) -> Image.Image:
    """As ``torchvision.datasets.ImageFolder`` reads a file."""
    with open(path, 'rb') as file:
        return Image.open(file).convert('RGB')
