from .loading import LoadImage, read_image, to_rgb
from .multi_crop import CropParams, DINOMultiCrop, apply_crop, draw_box

__all__ = [
    'CropParams',
    'DINOMultiCrop',
    'LoadImage',
    'apply_crop',
    'draw_box',
    'read_image',
    'to_rgb',
]
