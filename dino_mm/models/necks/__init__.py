from .pooling import ClassToken, GlobalAveragePool

__all__ = ['ClassToken', 'GlobalAveragePool']
