"""Linear classification of frozen features."""

from mmpretrain.models import ImageClassifier
from typing_extensions import Self

from dino_mm.registry import MODELS


@MODELS.register_module()
class LinearProbe(ImageClassifier):
    """mmpretrain's :class:`ImageClassifier` whose backbone, of any kind, is never trained.

    Its parameters need no gradient and it stays in evaluation mode, so that neither weights nor
    statistics of batch norms move and no layer is dropped.

    Args:
        data_preprocessor (dict, optional): mmpretrain's, or one of another type such as
            :class:`MultiCropDataPreprocessor`.
        kwargs: Those of :class:`mmpretrain.models.ImageClassifier`.
    """

    def __init__(self, data_preprocessor: dict | None = None, **kwargs) -> None:
        kind = (data_preprocessor or {}).get('type', 'ClsDataPreprocessor')
        if not kind.endswith('ClsDataPreprocessor'):
            # ImageClassifier would pass it an argument of its own.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, **kwargs)
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.backbone.eval()
        return self
