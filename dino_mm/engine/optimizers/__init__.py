from .autocast import AutocastOptimWrapper
from .constructor import DINOOptimWrapperConstructor, regularized_names
from .lars import LARS
from .layer_decay import LayerDecayOptimWrapperConstructor, layer_rates
from .optim_wrapper import DINOOptimWrapper, clip_each_grad_

__all__ = [
    'LARS',
    'AutocastOptimWrapper',
    'DINOOptimWrapper',
    'DINOOptimWrapperConstructor',
    'LayerDecayOptimWrapperConstructor',
    'clip_each_grad_',
    'layer_rates',
    'regularized_names',
]
