"""Multi-crop augmentation of DINO."""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torchvision.transforms.functional as F
from mmcv.transforms import BaseTransform
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import InterpolationMode

from dino_mm.registry import TRANSFORMS

_ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


@dataclass
class CropParams:
    """Everything drawn for one crop.

    Attributes:
        box (tuple): ``top, left, height, width`` in pixels of the source.
        size (int): Edge of the crop in pixels.
        flip (bool): Mirrored left to right.
        jitter (list): ``(adjustment, factor)`` in order of application, adjustments numbered
            brightness, contrast, saturation, hue; empty for none.
        gray (bool): Turned to grey levels.
        blur (float): Radius of the Gaussian blur in pixels, 0 for none.
        solarize (bool): Values from the threshold up inverted.
    """

    box: tuple[int, int, int, int]
    size: int
    flip: bool
    jitter: list[tuple[int, float]]
    gray: bool
    blur: float
    solarize: bool


def draw_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Box of a random resized crop: ``top, left, height, width``.

    Area share uniform in ``scale``, aspect ratio log-uniform in ``ratio``; after ten misses the
    largest central box of a permitted ratio (``torchvision.transforms.RandomResizedCrop``).
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = (
        (width, round(width / aspect))
        if width / height < ratio[0]
        else (round(height * aspect), height)
        if width / height > ratio[1]
        else (width, height)
    )
    return (height - h) // 2, (width - w) // 2, h, w


def apply_crop(
    image: Image.Image, crop: CropParams, interpolation: InterpolationMode, threshold: int
) -> Tensor:
    """Performs one crop on a PIL image: uint8 tensor (3, size, size)."""
    image = F.resized_crop(image, *crop.box, [crop.size, crop.size], interpolation)
    if crop.flip:
        image = F.hflip(image)
    for adjustment, factor in crop.jitter:
        image = _ADJUST[adjustment](image, factor)
    if crop.gray:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if crop.blur:
        image = image.filter(ImageFilter.GaussianBlur(crop.blur))
    if crop.solarize:
        image = ImageOps.solarize(image, threshold)
    return F.pil_to_tensor(image)


@TRANSFORMS.register_module()
class DINOMultiCrop(BaseTransform):
    """Two global and several local views of one image (paper section 3.1, appendix C).

    The defaults are the published augmentation (``DataAugmentationDINO``). Crops leave as uint8
    tensors; the data preprocessor normalises them on the device.

    Random draws depend on seed, epoch and sample index alone when training runs by epochs
    (:class:`dino_mm.engine.hooks.SetEpochHook`), so they do not depend on the number of workers
    and a resumed run repeats none; otherwise on the worker's own seed.

    Required key: ``img`` (PIL RGB image, or (H, W, 3) uint8 BGR as mmcv loads it). Modified key:
    ``inputs``, a list of uint8 tensors (3, h, w), the global crops first.

    Args:
        global_size (int): Edge of the two global crops in pixels.
        global_scale (tuple): Range of their share of the image's area.
        local_size (int): Edge of the local crops.
        local_scale (tuple): Range of their share of the area.
        num_local (int): Number of local crops.
        ratio (tuple): Range of the aspect ratio of all crops.
        flip_prob (float): Probability of mirroring.
        jitter_prob (float): Probability of colour jitter.
        brightness, contrast, saturation, hue (float): Strengths of the jitter, as in
            ``torchvision.transforms.ColorJitter``.
        gray_prob (float): Probability of grey levels.
        blur_prob (tuple): Probability of blur for first global, second global, local crops.
        blur_radius (tuple): Range of its radius in pixels, drawn anew for each crop.
        solarize_prob (tuple): Probability of solarisation, in the same order.
        solarize_threshold (int): Values from here up are inverted.
        interpolation (str): Of the resize.

    Example:
        >>> image = Image.new('RGB', (320, 240))
        >>> [tuple(c.shape) for c in DINOMultiCrop(num_local=1)(dict(img=image))['inputs']]
        [(3, 224, 224), (3, 224, 224), (3, 96, 96)]
    """

    def __init__(
        self,
        global_size: int = 224,
        global_scale: tuple[float, float] = (0.4, 1.0),
        local_size: int = 96,
        local_scale: tuple[float, float] = (0.05, 0.4),
        num_local: int = 8,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        jitter_prob: float = 0.8,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float, float] = (1.0, 0.1, 0.5),
        blur_radius: tuple[float, float] = (0.1, 2.0),
        solarize_prob: tuple[float, float, float] = (0.0, 0.2, 0.0),
        solarize_threshold: int = 128,
        interpolation: str = 'bicubic',
    ) -> None:
        if num_local < 0:
            raise ValueError(f'DINOMultiCrop.num_local must not be negative, got {num_local}')
        for key, scale in dict(global_scale=global_scale, local_scale=local_scale).items():
            if not 0 < scale[0] <= scale[1] <= 1:
                raise ValueError(f'DINOMultiCrop.{key} must be a range within (0, 1], got {scale}')
        self.views = [
            (global_size, global_scale, blur_prob[0], solarize_prob[0]),
            (global_size, global_scale, blur_prob[1], solarize_prob[1]),
            *[(local_size, local_scale, blur_prob[2], solarize_prob[2])] * num_local,
        ]
        self.ratio = ratio
        self.flip_prob, self.jitter_prob, self.gray_prob = flip_prob, jitter_prob, gray_prob
        self.strengths = (brightness, contrast, saturation, hue)
        self.blur_radius, self.solarize_threshold = blur_radius, solarize_threshold
        self.interpolation = InterpolationMode(interpolation)
        # Shared memory, so that persistent workers see it: epoch (-1 unknown) and seed.
        self._clock = torch.tensor([-1, 0]).share_memory_()
        self._worker_rng: tuple[object, np.random.Generator] | None = None

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Makes draws depend on seed, epoch and sample index alone."""
        self._clock[0], self._clock[1] = epoch, seed

    def _rng(self, results: dict) -> np.random.Generator:
        epoch, seed = self._clock.tolist()
        if epoch >= 0 and 'sample_idx' in results:
            return np.random.default_rng((seed, epoch, int(results['sample_idx'])))
        worker = get_worker_info()
        key = None if worker is None else worker.seed
        if self._worker_rng is None or self._worker_rng[0] != key:
            # PyTorch's worker seed differs between epochs, `random` between ranks: MMEngine
            # seeds the latter with the same value in every epoch.
            source = torch.initial_seed() if worker is None else key
            self._worker_rng = key, np.random.default_rng((source, random.getrandbits(32)))
        return self._worker_rng[1]

    def draw(self, rng: np.random.Generator, height: int, width: int) -> list[CropParams]:
        """Draws the parameters of all crops of a (height, width) image."""
        return [self._draw_one(rng, height, width, *view) for view in self.views]

    def _draw_one(
        self, rng: np.random.Generator, height: int, width: int, size, scale, blur, solarize
    ) -> CropParams:
        jitter = []
        if rng.random() < self.jitter_prob:
            factors = [rng.uniform(max(0.0, 1 - s), 1 + s) for s in self.strengths[:3]]
            factors.append(rng.uniform(-self.strengths[3], self.strengths[3]))
            jitter = [(int(i), factors[i]) for i in rng.permutation(4) if self.strengths[i]]
        return CropParams(
            box=draw_box(rng, height, width, scale, self.ratio),
            size=size,
            flip=rng.random() < self.flip_prob,
            jitter=jitter,
            gray=rng.random() < self.gray_prob,
            blur=rng.uniform(*self.blur_radius) if rng.random() < blur else 0.0,
            solarize=rng.random() < solarize,
        )

    def transform(self, results: dict) -> dict:
        image = results['img']
        if isinstance(image, np.ndarray):
            image = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        crops = self.draw(self._rng(results), image.height, image.width)
        return dict(
            inputs=[
                apply_crop(image, crop, self.interpolation, self.solarize_threshold)
                for crop in crops
            ]
        )
