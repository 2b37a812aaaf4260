"""Classifiers of mmpretrain's kind; import by ``custom_imports`` of the configs that use them."""

from .linear_probe import LinearProbe

__all__ = ['LinearProbe']
