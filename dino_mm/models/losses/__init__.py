from .centering import MovingCenter, SinkhornTargets
from .coding_rate import CodingRateLoss
from .dino_loss import DINOLoss
from .koleo import KoLeoLoss

__all__ = ['CodingRateLoss', 'DINOLoss', 'KoLeoLoss', 'MovingCenter', 'SinkhornTargets']
