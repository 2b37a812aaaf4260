"""A pretraining checkpoint as ``init_cfg`` of any backbone, in any OpenMMLab config."""

from mmengine.model import update_init_info
from torch import nn

from dino_mm.registry import WEIGHT_INITIALIZERS

from .loader import load_into


@WEIGHT_INITIALIZERS.register_module()
class DINOCheckpoint:
    """Initializes a backbone from a checkpoint of any layout; see :func:`load_into`.

    In configs of other scopes, after ``custom_imports = dict(imports=['dino_mm'])``::

        backbone=dict(
            type='dino_mm.VisionTransformer',
            init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='work_dirs/.../epoch_100.pth'),
        )

    Args:
        checkpoint (str): A file, an address or a published name.
        network (str, optional): ``'teacher'`` or ``'student'``; see :func:`read_weights`.
        strict (bool): Refuse checkpoints with keys too many or too few.
        adapt_channels (bool): Fit the first layer to images with another number of channels than
            the checkpoint was trained with; see :func:`load_into`.
    """

    def __init__(
        self,
        checkpoint: str,
        network: str | None = None,
        strict: bool = True,
        adapt_channels: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.options = dict(network=network, strict=strict, adapt_channels=adapt_channels)

    def __call__(self, module: nn.Module) -> None:
        try:
            report = load_into(module, self.checkpoint, **self.options)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{error}. Set model.backbone.init_cfg.checkpoint (--cfg-options), or '
                'model.backbone.init_cfg=None for random weights'
            ) from None
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'Loaded from {report.source}')
        # MMEngine and some backbones spare loaded weights only where the type is 'Pretrained':
        # without this, parts with an initialization of their own would overwrite them.
        module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint)
        loaded = set(report.matched)
        for name, part in module.named_modules():
            if name and hasattr(part, '_is_init'):
                part._is_init = all(f'{name}.{key}' in loaded for key in part.state_dict())
