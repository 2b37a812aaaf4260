from . import functional, loops, metrics

__all__ = ['functional', 'loops', 'metrics']
