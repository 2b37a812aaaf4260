"""Segmentation by a head on frozen features."""

from typing_extensions import Self

from dino_mm.registry import MODELS

from .segmentor import Segmentor


@MODELS.register_module()
class LinearSegmentor(Segmentor):
    """:class:`Segmentor` whose backbone, of any kind, is never trained.

    Its parameters need no gradient and it stays in evaluation mode, so that neither weights nor
    statistics of batch norms move and no layer is dropped.

    Args:
        kwargs: Those of :class:`mmseg.models.EncoderDecoder`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.backbone.eval()
        return self
