"""Pictures, drawn without pyplot: it would choose a backend, which belongs to the user."""

from dino_mm.utils.attention import class_token_attention

from .attention import draw_attention
from .curves import draw_curves
from .detection import draw_detections
from .neighbors import draw_neighbors
from .segmentation import draw_segmentation

__all__ = [
    'class_token_attention',
    'draw_attention',
    'draw_curves',
    'draw_detections',
    'draw_neighbors',
    'draw_segmentation',
]
