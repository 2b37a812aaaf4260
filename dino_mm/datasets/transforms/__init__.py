from .functional import CropParams, apply_crop, draw_box
from .ignore_labels import IgnoreLabels
from .loading import LoadImage, read_image, read_tensor, to_rgb
from .multi_crop import DINOMultiCrop

__all__ = [
    'CropParams',
    'DINOMultiCrop',
    'IgnoreLabels',
    'LoadImage',
    'apply_crop',
    'draw_box',
    'read_image',
    'read_tensor',
    'to_rgb',
]
