"""Feature pyramid of one map (ViTDet, arXiv 2203.16527, section 3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W), place by place.

    Serves as ``norm_cfg=dict(type='dino_mm.LayerNorm2d', eps=1e-6)`` in heads and necks of mmdet
    and mmseg; mmcv sets 1e-5 where ``eps`` is not given.
    """

    _abbr_ = 'ln'  # mmcv names the layer by it

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Maps of several strides from the last map of a plain ViT, each on its own.

    Strides are a quarter, a half, one and two times the patch size, by transposed convolutions
    and max pooling; further ones are taken from the coarsest by leaving out every second place.

    Levels are float32 under autocast too: mmdet gives the coordinates of regions the type of the
    features, and bfloat16 moves a corner at 1,000 pixels by up to 2.

    Args:
        in_channels (int): Channels of the backbone's map.
        out_channels (int): Channels of every level.
        num_outs (int): Levels, at least 4.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, num_outs: int = 5) -> None:
        super().__init__()
        for key, value, least in (
            ('in_channels', in_channels, 4),  # a quarter of which is the finest level's width
            ('out_channels', out_channels, 1),
            ('num_outs', num_outs, 4),
        ):
            check_number(f'SimpleFeaturePyramid.{key}', value, whole=True, at_least=least)
        half, quarter = in_channels // 2, in_channels // 4
        self.num_outs = num_outs
        self.resize = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(in_channels, half, 2, stride=2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                ),
                nn.ConvTranspose2d(in_channels, half, 2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )
        self.project = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for channels in (quarter, half, in_channels, in_channels)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels of the last map.

        Args:
            inputs (Sequence[Tensor]): Maps; of the last (B, C, h, w) the pyramid is made.

        Returns:
            tuple[Tensor, ...]: (B, C', 4h, 4w), (B, C', 2h, 2w), (B, C', h, w),
            (B, C', h // 2, w // 2), and so on, finest first.
        """
        x = inputs[-1]
        levels = [
            project(resize(x)).float()
            for resize, project in zip(self.resize, self.project, strict=True)
        ]
        while len(levels) < self.num_outs:
            levels.append(F.max_pool2d(levels[-1], 1, stride=2))
        return tuple(levels)
