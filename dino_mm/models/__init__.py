from .algorithms import DINO, DINONetwork, FeatureExtractor, SelfDistillation
from .backbones import VisionTransformer
from .detection_tta import DetectionTTAModel
from .heads import DINOHead
from .losses import CodingRateLoss, DINOLoss, KoLeoLoss, MovingCenter, SinkhornTargets
from .necks import (
    ClassToken,
    GlobalAveragePool,
    LastLayers,
    LayerNorm2d,
    SimpleFeaturePyramid,
)
from .outputs import NetworkOutputs
from .preprocessors import MultiCropDataPreprocessor

__all__ = [
    'CodingRateLoss',
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
    'KoLeoLoss',
    'MovingCenter',
    'MultiCropDataPreprocessor',
    'NetworkOutputs',
    'SelfDistillation',
    'SimpleFeaturePyramid',
    'SinkhornTargets',
    'VisionTransformer',
]
