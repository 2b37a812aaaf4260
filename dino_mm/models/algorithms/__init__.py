from .dino import DINO
from .ema import ema_update_
from .feature_extractor import FeatureExtractor
from .network import DINONetwork
from .self_distillation import SelfDistillation

__all__ = ['DINO', 'DINONetwork', 'FeatureExtractor', 'SelfDistillation', 'ema_update_']
