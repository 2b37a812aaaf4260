"""Layer-wise learning-rate decay for fine-tuning in mmpretrain, mmseg and mmdet."""

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from dino_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from dino_mm.utils.checks import check_number

LAYER_DECAY = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
#: Tokens of a ViT that, like biases and 1-D tensors, take no weight decay.
TOKENS = ('cls_token', 'pos_embed', 'register_tokens', 'mask_token', 'rel_pos_h', 'rel_pos_w')


def backbone_rates(backbone: nn.Module | None, decay: float) -> dict[str, float]:
    r"""Factor of the learning rate of each parameter of a backbone.

    A parameter at depth d of D gets :math:`decay^{D - 1 - d}`: patch and position embedding are
    depth 0, block i (from 0) is i + 1, the final norm D - 1 (BEiT, https://arxiv.org/abs/2106.08254,
    appendix).

    Args:
        backbone (nn.Module): With mmpretrain's ``get_layer_depth(name, prefix)``.
        decay (float): Factor from one layer to the one below, in (0, 1].

    Raises:
        ValueError: The backbone cannot tell its layers, or takes all for one: mmseg's and mmdet's
            own constructors would silently treat all of them alike.
    """
    check_number(LAYER_DECAY, decay, above=0, at_most=1)
    if not hasattr(backbone, 'get_layer_depth'):
        raise ValueError(
            f'{LAYER_DECAY}: the backbone ({type(backbone).__name__}) has no get_layer_depth(); '
            'take dino_mm.VisionTransformer or a backbone of mmpretrain that has it'
        )
    depths = {name: backbone.get_layer_depth(name, '') for name, _ in backbone.named_parameters()}
    if len(set(depths.values())) == 1:
        raise ValueError(
            f'{LAYER_DECAY}: {type(backbone).__name__}.get_layer_depth() knows none of its layers, '
            f'such as {next(reversed(depths))}'
        )
    return {name: decay ** (layers - 1 - depth) for name, (depth, layers) in depths.items()}


def layer_rates(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of each trainable parameter of a model with a ``backbone``; 1 for the heads."""
    rates = backbone_rates(getattr(model, 'backbone', None), decay)
    return {
        name: rates.get(name.removeprefix('backbone.'), 1.0)
        if name.startswith('backbone.')
        else 1.0
        for name, param in model.named_parameters()
        if param.requires_grad
    }


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Parameter groups by layer, one constructor for mmpretrain, mmseg and mmdet.

    ``paramwise_cfg`` takes ``layer_decay_rate`` (float), see :func:`backbone_rates`. Biases, 1-D
    tensors and position-like tokens take no weight decay.

    Example::

        optim_wrapper = dict(
            constructor='dino_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.65),
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        )
    """

    def __call__(self, model: nn.Module):
        if is_model_wrapper(model):
            model = model.module
        unknown = set(self.paramwise_cfg or {}) ^ {'layer_decay_rate'}
        if unknown:
            raise ValueError(
                'optim_wrapper.paramwise_cfg takes layer_decay_rate and nothing else; '
                f'missing or unknown: {sorted(unknown)}'
            )
        decay = self.paramwise_cfg['layer_decay_rate']
        optimizer_cfg = dict(self.optimizer_cfg)
        rates, params = layer_rates(model, decay), dict(model.named_parameters())
        groups: dict[tuple[float, bool], dict] = {}
        for name, rate in rates.items():
            plain = params[name].ndim == 1 or name.endswith(('.bias', *TOKENS))
            group = groups.setdefault(
                (rate, plain), dict(params=[], names=[], lr=optimizer_cfg['lr'] * rate)
            )
            if plain:
                group['weight_decay'] = 0.0
            group['params'].append(params[name])
            group['names'].append(name)
        print_log(
            f'Layer-wise decay {decay}: learning rates from '
            f'{min(g["lr"] for g in groups.values()):.3g} (embedding) to '
            f'{optimizer_cfg["lr"]:.3g} (heads) in {len(groups)} groups',
            'current',
        )
        optimizer_cfg['params'] = list(groups.values())
        wrapper_cfg = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        wrapper_cfg['optimizer'] = OPTIMIZERS.build(optimizer_cfg)
        return OPTIM_WRAPPERS.build(wrapper_cfg)
