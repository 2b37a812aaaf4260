"""Moves uint8 crops to the device, finishes their augmentation there and normalizes them."""

from collections.abc import Sequence
from itertools import groupby

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_numbers

from .photometric import ADJUST, crop_resize
from .photometric import photometric as apply_photometric

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@MODELS.register_module()
class MultiCropDataPreprocessor(BaseDataPreprocessor):
    """Normalizes one batch or a list of crops of several sizes.

    What ``DINOMultiCrop`` left undone (its ``backend``) is done here first, for all crops of one
    size at once.

    Args:
        mean (Sequence[float] | None): Per channel, for images scaled to [0, 1]. ``None`` passes
            already normalized float input through.
        std (Sequence[float] | None): Per channel.
        non_blocking (bool): Overlap the copy with computation; needs pinned memory.
        compile (bool): Fuse each color adjustment by ``torch.compile``: some seconds at the
            start.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        non_blocking: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ValueError('data_preprocessor: give both `mean` and `std`, or neither')
        if mean is not None:
            check_numbers('data_preprocessor.mean', mean)
            check_numbers('data_preprocessor.std', std, len(mean), above=0)
        self.normalize = mean is not None
        if mean is not None:
            self.register_buffer('mean', 255 * torch.tensor(mean).view(-1, 1, 1), persistent=False)
            self.register_buffer('std', 255 * torch.tensor(std).view(-1, 1, 1), persistent=False)
        # How many samples an adjustment meets differs from batch to batch.
        self.adjust = tuple(
            torch.compile(adjust, dynamic=True) if compile else adjust for adjust in ADJUST
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Device placement, rest of the augmentation, normalization.

        Args:
            data (dict): ``inputs``: a batch (B, C, H, W), or a list of crops of that shape, or a
                list of equally sized images (C, H, W), which are stacked; uint8 or, without
                ``mean``, float. ``photometric``, ``boxes`` and ``sizes`` as ``DINOMultiCrop`` made
                them. All else that the batch
                holds (``data_samples``, ``masks``) is passed on.
        """
        host = {key: data[key] for key in ('photometric', 'sizes') if key in data}
        data = self.cast_data({key: value for key, value in data.items() if key not in host})
        inputs = data['inputs']
        if host:
            inputs = self._augment(inputs, boxes=data.get('boxes'), **host)
        else:
            if not isinstance(inputs, Tensor) and inputs[0].ndim == 3:
                shapes = {tuple(image.shape) for image in inputs}
                if len(shapes) > 1:
                    raise ValueError(f'images of one batch differ in shape: {sorted(shapes)}')
                inputs = torch.stack(list(inputs))
            if isinstance(inputs, Tensor):
                inputs = self._normalize(inputs)
            else:
                inputs = self._normalize_crops(inputs)
        own = ('inputs', 'data_samples', 'boxes')
        rest = {key: value for key, value in data.items() if key not in own}
        return dict(inputs=inputs, data_samples=data.get('data_samples'), **rest)

    def _normalize_crops(self, crops: Sequence[Tensor]) -> list[Tensor]:
        """Normalized crops; those of one size lie one after the other in memory, which the
        networks make use of."""
        out: list[Tensor] = []
        for _, group in groupby(crops, key=lambda crop: crop.shape[-2:]):
            same = list(group)
            joined = self._normalize(same[0] if len(same) == 1 else torch.cat(same))
            out += joined.split([len(crop) for crop in same])
        return out

    @torch.no_grad()
    def _augment(
        self,
        inputs: list[Tensor] | Tensor,
        photometric: dict[str, Tensor],
        boxes: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> list[Tensor]:
        """All crops, each float (B, 3, h, w)."""
        found = [crop.shape[-2:] for crop in inputs] if sizes is None else sizes[0].tolist()
        out, start = [], 0
        # bfloat16 holds no more than the 8 bits the values have: no autocast here.
        with torch.autocast(self.device.type, enabled=False):
            for size, same in groupby(map(tuple, found)):
                views = slice(start, start + len(list(same)))
                params = {
                    key: value[:, views].transpose(0, 1).flatten(0, 1)  # (crops * B, ...)
                    for key, value in photometric.items()
                }
                if boxes is None:
                    crops = torch.cat(inputs[views])
                else:
                    crops = crop_resize(inputs, boxes[:, views], size).round()
                crops = self._normalize(apply_photometric(crops, params, self.adjust))
                out += crops.chunk(views.stop - start)
                start = views.stop
        return out

    def _normalize(self, x: Tensor) -> Tensor:
        if not self.normalize:
            return x
        if x.shape[-3] != self.mean.shape[0]:
            raise ValueError(
                f'images have {x.shape[-3]} channels but data_preprocessor.mean has '
                f'{self.mean.shape[0]}'
            )
        return (x.float() - self.mean) / self.std
