from .dino import DINO, DINONetwork
from .feature_extractor import FeatureExtractor

__all__ = ['DINO', 'DINONetwork', 'FeatureExtractor']
