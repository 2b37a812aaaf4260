from .dino import DINO, DINONetwork

__all__ = ['DINO', 'DINONetwork']
