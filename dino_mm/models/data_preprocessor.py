"""Moves uint8 crops to the device and normalises them there."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from dino_mm.registry import MODELS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@MODELS.register_module()
class MultiCropDataPreprocessor(BaseDataPreprocessor):
    """Normalises one batch or a list of crops of several sizes.

    Args:
        mean (Sequence[float] | None): Per channel, for images scaled to [0, 1]. ``None`` passes
            already normalised float input through.
        std (Sequence[float] | None): Per channel.
        per_image (bool): Bring each crop to mean 0 and standard deviation 1 by itself instead,
            so that its brightness and contrast tell nothing. For small sets where these would be
            an easier answer than content.
        non_blocking (bool): Overlap the copy with computation; needs pinned memory.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        per_image: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ValueError('data_preprocessor: give both `mean` and `std`, or neither')
        self.normalise, self.per_image = mean is not None, per_image
        if self.normalise:
            self.register_buffer('mean', 255 * torch.tensor(mean).view(-1, 1, 1), persistent=False)
            self.register_buffer('std', 255 * torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Device placement and normalisation.

        Args:
            data (dict): ``inputs``: a batch (B, C, H, W), or a list of crops of that shape, or a
                list of equally sized images (C, H, W), which are stacked; uint8 or, without
                ``mean``, float. ``data_samples`` are passed on.
        """
        inputs = self.cast_data(data)['inputs']
        if not isinstance(inputs, Tensor) and inputs[0].ndim == 3:
            sizes = {tuple(image.shape) for image in inputs}
            if len(sizes) > 1:
                raise ValueError(f'images of one batch differ in shape: {sorted(sizes)}')
            inputs = torch.stack(list(inputs))
        if self.normalise:
            many = not isinstance(inputs, Tensor)
            inputs = [self._normalise(x) for x in inputs] if many else self._normalise(inputs)
        return dict(inputs=inputs, data_samples=self.cast_data(data.get('data_samples')))

    def _normalise(self, x: Tensor) -> Tensor:
        if x.shape[-3] != self.mean.shape[0]:
            raise ValueError(
                f'images have {x.shape[-3]} channels but data_preprocessor.mean has '
                f'{self.mean.shape[0]}'
            )
        if self.per_image:
            x = x.float() / 255
            std, mean = torch.std_mean(x, dim=(-3, -2, -1), keepdim=True)
            return (x - mean) / (std + 0.05)  # the constant spares empty crops their noise
        return (x.float() - self.mean) / self.std
