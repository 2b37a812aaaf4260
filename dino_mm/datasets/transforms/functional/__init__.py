"""What multi-crop does to an image, in three forms.

``crop`` draws the parameters. ``pillow`` performs them as published; ``opencv`` does the same
faster, within rounding, in a worker; ``batched`` does so on the training device.
"""

from .crop import CropParams, blur_kernel, draw_box
from .pillow import apply_crop

__all__ = ['CropParams', 'apply_crop', 'blur_kernel', 'draw_box']
