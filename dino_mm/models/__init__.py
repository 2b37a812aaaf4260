from .algorithms import DINO, DINONetwork
from .backbones import VisionTransformer
from .data_preprocessor import MultiCropDataPreprocessor
from .heads import DINOHead
from .losses import DINOLoss
from .necks import ClassToken, GlobalAveragePool

__all__ = [
    'DINO',
    'ClassToken',
    'DINOHead',
    'DINOLoss',
    'DINONetwork',
    'GlobalAveragePool',
    'MultiCropDataPreprocessor',
    'VisionTransformer',
]
