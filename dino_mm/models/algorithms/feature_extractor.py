"""A frozen backbone as a model that the Runner can test."""

from mmengine.model import BaseModel
from torch import Tensor

from dino_mm.registry import MODELS


@MODELS.register_module()
class FeatureExtractor(BaseModel):
    """Attaches ``features`` to data samples, for metrics such as :class:`KNNMetric`.

    ``tools/test.py`` loads the backbone from a checkpoint of any layout.

    Args:
        backbone (dict): Any backbone.
        neck (dict): Makes (B, C) of what it returns: :class:`ClassToken` or
            :class:`GlobalAveragePool`.
        data_preprocessor (dict, optional): :class:`MultiCropDataPreprocessor` config. If it has
            neither ``mean`` nor ``std`` nor ``per_image``, ``tools/test.py`` normalizes images as
            the checkpoint was trained.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = dict(type='dino_mm.MultiCropDataPreprocessor') | (data_preprocessor or {})
        super().__init__(MODELS.build(preprocessor), init_cfg)
        self.backbone, self.neck = MODELS.build(backbone), MODELS.build(neck)
        #: What was loaded, for reports; set by who loads it.
        self.source: str | None = None

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor | list:
        """Features (B, C) for ``'tensor'``, data samples with ``features`` (C,) for ``'predict'``.

        Args:
            inputs (Tensor): Normalized images (B, C, H, W).
            data_samples (list, optional): Labels, for ``'predict'``.
            mode (str): One of the two.
        """
        features = self.neck(self.backbone(inputs))
        if mode == 'tensor':
            return features
        if mode != 'predict':
            raise ValueError(f'a FeatureExtractor is not trained: mode {mode!r}')
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(feature, 'features')
        return data_samples
