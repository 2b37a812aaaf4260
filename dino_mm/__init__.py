"""Self-supervised DINO for OpenMMLab. Importing it fills the ``dino_mm`` registries."""

from . import checkpoint, datasets, engine, evaluation, models
from .apis.pretrain import pretrain
from .version import __version__

__all__ = [
    '__version__',
    'checkpoint',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'pretrain',
]
