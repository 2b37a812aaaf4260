"""Parameter groups of DINO."""

from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from dino_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


def regularized_names(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of trainable parameters with and without weight decay.

    Biases and 1-D tensors go without; class token and position embedding are 3-D and decay
    (``get_params_groups`` of the reference).
    """
    decay, no_decay = [], []
    for name, param in model.named_parameters():
        if param.requires_grad:
            (no_decay if name.endswith('.bias') or param.ndim == 1 else decay).append(name)
    return decay, no_decay


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DINOOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds the optimizer with a regularized and an unregularized parameter group.

    The groups carry ``name='decay'`` and ``name='no_decay'``, by which
    :class:`dino_mm.engine.hooks.WeightDecayHook` finds the first. The learning rate is multiplied
    by ``accumulative_counts``: MMEngine's ``auto_scale_lr`` counts batch size and ranks only, so
    that both together give ``lr * batch * accumulation * world / base_batch_size``.
    """

    def __call__(self, model: nn.Module):
        if is_model_wrapper(model):
            model = model.module
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'DINOOptimWrapper')
        optimizer_cfg = dict(self.optimizer_cfg)
        optimizer_cfg['lr'] = optimizer_cfg['lr'] * wrapper_cfg.get('accumulative_counts', 1)
        params = dict(model.named_parameters())
        decay, no_decay = regularized_names(model)
        groups = [
            dict(params=[params[n] for n in decay], names=decay, name='decay'),
            dict(
                params=[params[n] for n in no_decay],
                names=no_decay,
                name='no_decay',
                weight_decay=0.0,
            ),
        ]
        wrapper_cfg['optimizer'] = OPTIMIZERS.build(dict(optimizer_cfg, params=groups))
        return OPTIM_WRAPPERS.build(wrapper_cfg)
