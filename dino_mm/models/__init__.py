from .algorithms import DINO, DINONetwork, FeatureExtractor
from .backbones import VisionTransformer
from .data_preprocessor import MultiCropDataPreprocessor
from .heads import DINOHead
from .losses import DINOLoss
from .necks import (
    ClassToken,
    GlobalAveragePool,
    LastLayers,
    LayerNorm2d,
    SimpleFeaturePyramid,
)

__all__ = [
    'DINO',
    'ClassToken',
    'DINOHead',
    'DINOLoss',
    'DINONetwork',
    'FeatureExtractor',
    'GlobalAveragePool',
    'LastLayers',
    'LayerNorm2d',
    'MultiCropDataPreprocessor',
    'SimpleFeaturePyramid',
    'VisionTransformer',
]
