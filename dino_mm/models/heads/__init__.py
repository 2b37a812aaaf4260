from .dino_head import DINOHead, Projection

__all__ = ['DINOHead', 'Projection']
