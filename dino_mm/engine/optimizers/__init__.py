from .constructor import DINOOptimWrapperConstructor, regularised_names
from .lars import LARS
from .optim_wrapper import DINOOptimWrapper, clip_each_grad_

__all__ = [
    'LARS',
    'DINOOptimWrapper',
    'DINOOptimWrapperConstructor',
    'clip_each_grad_',
    'regularised_names',
]
