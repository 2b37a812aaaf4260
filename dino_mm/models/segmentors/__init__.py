"""Segmentors of mmseg's kind; import by ``custom_imports`` of the configs that use them."""

from .linear_head import LinearHead
from .linear_segmentor import LinearSegmentor
from .segmentor import Segmentor

__all__ = ['LinearHead', 'LinearSegmentor', 'Segmentor']
