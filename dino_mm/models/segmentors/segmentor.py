"""Segmentation of images of any size."""

from collections.abc import Sequence

from mmseg.models import EncoderDecoder
from torch import Tensor

from dino_mm.registry import MODELS


@MODELS.register_module()
class Segmentor(EncoderDecoder):
    """mmseg's :class:`EncoderDecoder` that also predicts batches of images of different sizes.

    mmseg's ``inference_model`` makes one batch of a list of images, and its own models refuse sizes
    that differ. Here such images are predicted one by one, so that each gets the result that it
    gets alone.

    Args:
        kwargs: Those of :class:`mmseg.models.EncoderDecoder`.
    """

    def test_step(self, data: dict[str, Sequence | Tensor]) -> list:
        """Predicts a batch.

        Args:
            data (dict): ``inputs``, images (C, H, W) or a batch of them, and ``data_samples``.

        Returns:
            list: Data samples with ``pred_sem_seg`` and ``seg_logits``.
        """
        if len({image.shape for image in data['inputs']}) == 1:
            return super().test_step(data)
        predicted = []
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            predicted += super().test_step(dict(inputs=[image], data_samples=[sample]))
        return predicted

    val_step = test_step
