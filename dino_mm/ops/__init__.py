"""Detection without compiled mmcv: importing this module lets torchvision and PyTorch answer.

Detection configs ask for it by ``custom_imports = dict(imports=['dino_mm.ops'])``. Scripts that
import mmdet's models before they read a config, such as mmdet's own ``tools/test.py``, are run by
``python -m dino_mm.ops SCRIPT [ARGUMENTS]``.
"""

from .fallback import install_fallback_ops

__all__ = ['install_fallback_ops']

install_fallback_ops()
