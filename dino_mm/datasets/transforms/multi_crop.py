"""Multi-crop augmentation of DINO."""

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.device import get_device
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import get_worker_info
from torchvision.transforms import InterpolationMode

from dino_mm.registry import TRANSFORMS
from dino_mm.utils.checks import as_pair, check_number, check_numbers

from .functional import CropParams, apply_crop, draw_box, encode, opencv, without_color
from .loading import as_pillow, as_tensor

#: Who does what: see :class:`DINOMultiCrop`.
BACKENDS = ('pillow', 'opencv', 'device', 'decode', 'auto')


def fit_canvas(image: Tensor, edge: int) -> tuple[Tensor, float, float]:
    """Puts an image into the upper left corner of a black square, scaled down if it is larger.

    Args:
        image (Tensor): (C, H, W) uint8.
        edge (int): Of the square.

    Returns:
        tuple: The square (C, edge, edge), and by how much height and width were scaled.
    """
    height, width = image.shape[1:]
    scale = min(1.0, edge / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < 1:
        image = interpolate(image[None], size, mode='bicubic', antialias=True)[0]
    canvas = image.new_zeros(len(image), edge, edge)
    canvas[:, : size[0], : size[1]] = image
    return canvas, size[0] / height, size[1] / width


@TRANSFORMS.register_module()
class DINOMultiCrop(BaseTransform):
    """Two global and several local views of one image (paper section 3.1, appendix C).

    The defaults are the published augmentation (``DataAugmentationDINO``). Crops leave as uint8
    tensors; :class:`dino_mm.models.MultiCropDataPreprocessor` normalizes them on the device. All
    backends draw the same parameters and differ in rounding alone (docs/performance.md).

    Random draws depend on seed, epoch and place in the data set alone when training runs by epochs
    (:class:`dino_mm.engine.hooks.ProgressHook`), so they do not depend on the number of workers
    and a resumed run repeats none; otherwise on the worker's own seed. An image that a wrapper such
    as RepeatDataset shows several times in an epoch has several places.

    Images of other than three channels get the operations that need no color: crop, flip,
    brightness, contrast, blur and solarization. ``'pillow'`` leaves them to ``'opencv'``.

    Required key: ``img`` (PIL image, (C, H, W) uint8 tensor, or (H, W, 3) uint8 BGR array as mmcv
    loads it). Modified key: ``inputs``, a list of uint8 tensors (C, h, w), the global crops
    first; ``'device'`` and ``'decode'`` add what the data preprocessor needs to go on.

    Args:
        global_size (int | tuple): Edge of the two global crops in pixels, or their (H, W).
        global_scale (tuple): Range of their share of the image's area.
        local_size (int | tuple): The same of the local crops.
        local_scale (tuple): Range of their share of the area.
        num_local (int): Number of local crops.
        ratio (tuple): Range of width / height of what is cut out for any crop, before the resize.
        flip_prob (float): Probability of mirroring.
        jitter_prob (float): Probability of color jitter.
        brightness, contrast, saturation, hue (float): Strengths of the jitter, as in
            ``torchvision.transforms.ColorJitter``.
        gray_prob (float): Probability of gray levels.
        blur_prob (tuple): Probability of blur for first global, second global, local crops.
        blur_radius (tuple): Range of its radius in pixels, drawn anew for each crop.
        solarize_prob (tuple): Probability of solarization, in the same order.
        solarize_threshold (int): Values from here up are inverted.
        interpolation (str): Of the resize.
        backend (str): ``'pillow'`` performs the published operations. ``'opencv'`` does so faster.
            ``'device'`` crops and resizes here and leaves flip, colors and blur to the data
            preprocessor, on the training device. ``'decode'`` leaves it the resize too. ``'auto'``
            is ``'device'`` where there is an accelerator, else ``'opencv'``.
        canvas (int): For ``'decode'``, edge in pixels of the square that an image is handed over
            in; larger images are scaled down to it first.

    Example:
        >>> image = Image.new('RGB', (320, 240))
        >>> [tuple(c.shape) for c in DINOMultiCrop(num_local=1)(dict(img=image))['inputs']]
        [(3, 224, 224), (3, 224, 224), (3, 96, 96)]
    """

    def __init__(
        self,
        global_size: int | tuple[int, int] = 224,
        global_scale: tuple[float, float] = (0.4, 1.0),
        local_size: int | tuple[int, int] = 96,
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
        backend: str = 'pillow',
        canvas: int = 512,
    ) -> None:
        check_number('DINOMultiCrop.num_local', num_local, whole=True, at_least=0)
        global_size = as_pair('DINOMultiCrop.global_size', global_size)
        local_size = as_pair('DINOMultiCrop.local_size', local_size)
        for key, scale in dict(global_scale=global_scale, local_scale=local_scale).items():
            check_numbers(f'DINOMultiCrop.{key}', scale, 2, rising=True, above=0, at_most=1)
        check_numbers('DINOMultiCrop.ratio', ratio, 2, rising=True, above=0)
        chances = dict(flip_prob=flip_prob, jitter_prob=jitter_prob, gray_prob=gray_prob)
        for key, value in chances.items():
            check_number(f'DINOMultiCrop.{key}', value, at_least=0, at_most=1)
        for key, values in dict(blur_prob=blur_prob, solarize_prob=solarize_prob).items():
            check_numbers(f'DINOMultiCrop.{key}', values, 3, at_least=0, at_most=1)
        strengths = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for key, value in strengths.items():
            check_number(f'DINOMultiCrop.{key}', value, at_least=0)
        check_number('DINOMultiCrop.hue', hue, at_least=0, at_most=0.5)
        check_numbers('DINOMultiCrop.blur_radius', blur_radius, 2, rising=True, at_least=0)
        threshold = dict(whole=True, at_least=0, at_most=256)
        check_number('DINOMultiCrop.solarize_threshold', solarize_threshold, **threshold)
        check_number('DINOMultiCrop.canvas', canvas, whole=True, at_least=1)
        if backend not in BACKENDS:
            raise ValueError(f'DINOMultiCrop.backend must be one of {BACKENDS}, got {backend!r}')
        if backend == 'auto':
            backend = 'opencv' if get_device() == 'cpu' else 'device'
        known = dict(
            pillow=tuple(mode.value for mode in InterpolationMode),
            opencv=('bicubic', 'bilinear'),
            device=('bicubic', 'bilinear'),
            decode=('bicubic',),
        )
        if interpolation not in known[backend]:
            raise ValueError(
                f'DINOMultiCrop.interpolation={interpolation!r} is none of those of '
                f'backend={backend!r}: {known[backend]}; those of the pillow backend: '
                f'{known["pillow"]}'
            )
        #: Height and width of the crops by the option that sets them.
        self.sizes = dict(global_size=global_size)
        if num_local:
            self.sizes['local_size'] = local_size
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
        self.backend, self.canvas = backend, canvas
        self.max_blur = blur_radius[1] if max(blur_prob) > 0 else 0.0
        #: Place of the next image in the data set, where that is not its ``sample_idx``.
        self.place: int | None = None
        # Shared memory, so that persistent workers see it: epoch (-1 unknown) and seed.
        self._clock = torch.tensor([-1, 0]).share_memory_()
        self._worker_rng: tuple[object, np.random.Generator] | None = None

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Makes draws depend on seed, epoch and place alone."""
        self._clock[0], self._clock[1] = epoch, seed

    def _rng(self, results: dict) -> np.random.Generator:
        epoch, seed = self._clock.tolist()
        place = results.get('sample_idx') if self.place is None else self.place
        if epoch >= 0 and place is not None:
            return np.random.default_rng((seed, epoch, int(place)))
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
        own_channels = isinstance(image, Tensor) and len(image) != 3
        backend = 'opencv' if own_channels and self.backend == 'pillow' else self.backend
        pillow = backend == 'pillow'
        if not own_channels:
            image = (as_pillow if pillow else as_tensor)(image)
        height, width = (image.height, image.width) if pillow else image.shape[1:]
        crops = self.draw(self._rng(results), height, width)
        if own_channels:
            crops = [without_color(crop) for crop in crops]
        mode, threshold = self.interpolation, self.solarize_threshold
        if pillow:
            return dict(inputs=[apply_crop(image, crop, mode, threshold) for crop in crops])
        if backend == 'decode':
            canvas, vertical, horizontal = fit_canvas(image, self.canvas)
            boxes = np.array([crop.box for crop in crops], np.float32)
            return dict(
                inputs=canvas,
                boxes=torch.from_numpy(boxes * np.float32([vertical, horizontal] * 2)),
                sizes=torch.tensor([crop.size for crop in crops]),
                photometric=encode(crops, threshold, self.max_blur),
            )
        resized = [opencv.resized_crop(image, crop, mode.value) for crop in crops]
        if backend == 'opencv':
            pairs = zip(resized, crops, strict=True)
            return dict(inputs=[opencv.photometric(*pair, threshold) for pair in pairs])
        return dict(
            inputs=[crop.contiguous() for crop in resized],
            photometric=encode(crops, threshold, self.max_blur),
        )
