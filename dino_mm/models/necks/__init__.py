from .last_layers import LastLayers
from .pooling import ClassToken, GlobalAveragePool
from .simple_feature_pyramid import LayerNorm2d, SimpleFeaturePyramid

__all__ = [
    'ClassToken',
    'GlobalAveragePool',
    'LastLayers',
    'LayerNorm2d',
    'SimpleFeaturePyramid',
]
