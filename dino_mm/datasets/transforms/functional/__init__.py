"""What multi-crop does to an image, in three forms.

``crop`` draws the parameters. ``pillow`` performs them as published; ``opencv`` does the same
faster, within rounding, in a worker; ``encode`` hands them
to :mod:`dino_mm.models.preprocessors`, which does so on the training device.
"""

from .crop import CropParams, blur_kernel, draw_box, without_color
from .encode import encode
from .pillow import apply_crop

__all__ = ['CropParams', 'apply_crop', 'blur_kernel', 'draw_box', 'encode', 'without_color']
