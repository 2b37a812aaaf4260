"""The frozen backbone that an evaluation looks at."""

from contextlib import AbstractContextManager

import torch
from mmengine.device import get_device
from torch import Tensor, nn

from dino_mm.models.necks import ClassToken, GlobalAveragePool
from dino_mm.models.necks.last_layers import last_layer_parts
from dino_mm.models.necks.pooling import last_output
from dino_mm.registry import MODELS
from dino_mm.utils.attention import class_token_attention
from dino_mm.utils.files import fingerprint, weights_fingerprint


class FrozenBackbone:
    """A backbone in evaluation mode on the machine's device, for uint8 RGB images.

    Args:
        module (nn.Module): Our vision transformer, or for :meth:`descriptor` any backbone.
        normalization (dict): ``mean`` and ``std`` of
            :class:`MultiCropDataPreprocessor`.
        source (dict): Where the backbone comes from, for the report; ``backbone`` is its config.
        dtype (str | None): Features are computed in ``'bfloat16'``, in ``'float16'``, or with
            ``None`` in float32. They are always returned in float32.
    """

    def __init__(
        self, module: nn.Module, normalization: dict, source: dict, dtype: str | None = None
    ) -> None:
        self.device = torch.device(get_device())
        self.module = module.to(self.device).requires_grad_(False)
        self.module.eval()  # by itself: mmpretrain's backbones return None
        preprocessor = dict(type='dino_mm.MultiCropDataPreprocessor', **normalization)
        self.preprocessor = MODELS.build(preprocessor).to(self.device)
        self.fingerprint = fingerprint(
            normalization, source.get('backbone'), weights_fingerprint(module), dtype
        )
        self.dtype = dtype
        self.source = source | dict(
            fingerprint=self.fingerprint[:12], dtype=dtype or 'float32', normalization=normalization
        )

    @property
    def name(self) -> str:
        """Name of the backbone in the title of a table."""
        return f'{self.source["arch"] or self.source["config"] or ""} {self.source["checkpoint"]}'

    @property
    def patch_size(self) -> int:
        self._require('patch_size')
        return self.module.patch_size

    @property
    def has_tokens(self) -> bool:
        """Whether it is a vision transformer."""
        return hasattr(self.module, 'get_intermediate_layers')

    def normalize(self, images: Tensor) -> Tensor:
        """Moves uint8 images (B, 3, H, W) to the device and normalizes them to float."""
        return self.preprocessor(dict(inputs=images))['inputs'].float()

    def num_patches(self, images: Tensor) -> int:
        height, width = images.shape[-2:]
        return (height // self.patch_size) * (width // self.patch_size)

    def autocast(self) -> AbstractContextManager:
        dtype = getattr(torch, self.dtype or 'float32')
        return torch.autocast(self.device.type, dtype, enabled=self.dtype is not None)

    def last_layers(self, images: Tensor, n: int) -> list[Tensor]:
        """Normalized tokens of the last ``n`` layers, each (B, 1 + N, C), of normalized images."""
        self._require('get_intermediate_layers')
        with self.autocast():
            return [x.float() for x in self.module.get_intermediate_layers(images, n=n)]

    def tokens(self, images: Tensor) -> Tensor:
        """Normalized tokens of the last layer (B, 1 + N, C) of normalized images."""
        return self.last_layers(images, 1)[0]

    def class_attention(self, images: Tensor) -> Tensor:
        """Last-layer attention of the class token (B, heads, h, w) of uint8 images."""
        self._require('get_attention')
        with self.autocast():
            return class_token_attention(self.module, self.normalize(images)).float()

    def descriptor(self, images: Tensor) -> Tensor:
        """Class token, or without one the mean over positions: (B, C) of normalized images."""
        if self.has_tokens:
            return self.tokens(images)[:, 0]
        with self.autocast():
            out = last_output(self.module(images)).float()
        return (GlobalAveragePool() if out.ndim == 4 else ClassToken())(out)

    def parts(self, images: Tensor, layers: int) -> Tensor:
        """Features (B, P, C) of P parts, of uint8 images.

        The parts of a vision transformer are the class tokens of the last ``layers`` layers and
        the mean patch token of the last one. Other networks have one part, :meth:`descriptor`.
        """
        inputs = self.normalize(images)
        if not self.has_tokens:
            return self.descriptor(inputs)[:, None]
        return last_layer_parts(self.last_layers(inputs, layers), self.module.num_prefix_tokens)

    def _require(self, name: str) -> None:
        if not hasattr(self.module, name):
            raise TypeError(
                f'{type(self.module).__name__} has no {name}: this evaluation works with vision '
                'transformers only. Set model.backbone.type to VisionTransformer'
            )
