"""Linear classification of patch tokens."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from dino_mm.registry import MODELS


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """Batch norm and a 1x1 convolution, bilinearly enlarged: no more than a linear map per patch.

    As in the linear evaluation of DINOv2 (https://arxiv.org/abs/2304.07193, section 7.4). Of
    several layers (``input_transform='resize_concat'``) channels are concatenated.

    Args:
        in_channels (int | Sequence[int]): Channels of each chosen map.
        norm_cfg (dict): Normalization of the features.
        kwargs: ``num_classes``, ``in_index``, ``input_transform`` and so on of mmseg's
            :class:`BaseDecodeHead`.
    """

    def __init__(self, in_channels: int | Sequence[int], norm_cfg: dict, **kwargs) -> None:
        channels = in_channels if isinstance(in_channels, int) else sum(in_channels)
        super().__init__(in_channels, channels=channels, norm_cfg=norm_cfg, **kwargs)
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, h, w), one per layer, to logits (B, num_classes, h, w)."""
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))
