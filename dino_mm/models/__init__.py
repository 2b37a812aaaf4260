from .algorithms import DINO, DINONetwork, FeatureExtractor
from .backbones import VisionTransformer
from .detection_tta import DetectionTTAModel
from .heads import DINOHead
from .losses import DINOLoss
from .necks import (
    ClassToken,
    GlobalAveragePool,
    LastLayers,
    LayerNorm2d,
    SimpleFeaturePyramid,
)
from .preprocessors import MultiCropDataPreprocessor

__all__ = [
    'DINO',
    'ClassToken',
    'DINOHead',
    'DINOLoss',
    'DINONetwork',
    'DetectionTTAModel',
    'FeatureExtractor',
    'GlobalAveragePool',
    'LastLayers',
    'LayerNorm2d',
    'MultiCropDataPreprocessor',
    'SimpleFeaturePyramid',
    'VisionTransformer',
]
