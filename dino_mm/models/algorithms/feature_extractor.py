"""A frozen backbone as a model that the Runner can test."""

from mmengine.model import BaseModel
from torch import Tensor

from dino_mm.registry import MODELS


@MODELS.register_module()
class FeatureExtractor(BaseModel):
    """Attaches ``features`` to data samples, for metrics such as :class:`KNNMetric`.

    ``tools/test.py`` loads the backbone from a checkpoint of any layout. MMEngine's own loading,
    as of mmpretrain's tools and APIs, takes a file of the whole model or of the backbone alone.

    Raises:
        ValueError: A checkpoint that MMEngine loads lacks tensors of the backbone.

    Args:
        backbone (dict): Any backbone.
        neck (dict): Makes (B, C) of what it returns: :class:`ClassToken` or
            :class:`GlobalAveragePool`.
        data_preprocessor (dict, optional): :class:`MultiCropDataPreprocessor` config. If it has
            neither ``mean`` nor ``std``, ``tools/test.py`` normalizes images as
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

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        own = [key for key in self.backbone.state_dict() if not key.endswith('num_batches_tracked')]
        if all(prefix + key in state_dict for key in own):  # of a lone backbone
            for key in self.backbone.state_dict():
                if prefix + key in state_dict:
                    state_dict[f'{prefix}backbone.{key}'] = state_dict.pop(prefix + key)
        missing = [key for key in own if f'{prefix}backbone.{key}' not in state_dict]
        if missing:
            raise ValueError(
                f'the checkpoint lacks {len(missing)} of {len(own)} tensors of the backbone, which '
                f'would stay random: {", ".join(missing[:3])}, ...; it has keys like '
                f'{", ".join(list(state_dict)[:3])}. Export the backbone of a pretraining '
                'checkpoint first: python tools/model_converters/export_backbone.py'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features (B, C) of normalized images (B, C, H, W); mmpretrain's APIs ask for them."""
        return self.neck(self.backbone(inputs))

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor | list:
        """Features (B, C) for ``'tensor'``, data samples with ``features`` (C,) for ``'predict'``.

        Args:
            inputs (Tensor): Normalized images (B, C, H, W).
            data_samples (list, optional): Labels, for ``'predict'``.
            mode (str): One of the two.
        """
        features = self.extract_feat(inputs)
        if mode == 'tensor':
            return features
        if mode != 'predict':
            raise ValueError(f'a FeatureExtractor is not trained: mode {mode!r}')
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(feature, 'features')
        return data_samples
