"""Layer-wise learning-rate decay for fine-tuning in mmpretrain, mmseg and mmdet."""

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from dino_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from dino_mm.utils.checks import check_number

#: Tokens of a ViT that, like biases and 1-D tensors, take no weight decay.
TOKENS = ('cls_token', 'pos_embed', 'register_tokens', 'mask_token', 'rel_pos_h', 'rel_pos_w')


def layer_rates(model: nn.Module, decay: float) -> dict[str, float]:
    r"""Factor of the learning rate of each trainable parameter.

    Parameters of ``model.backbone`` at depth d of D get :math:`decay^{D - 1 - d}`: patch and
    position embedding are depth 0, block i (from 0) is i + 1, the final norm D - 1. All others,
    the heads, get 1 (BEiT, https://arxiv.org/abs/2106.08254, appendix).

    Args:
        model (nn.Module): With a ``backbone`` that has mmpretrain's ``get_layer_depth(name)``.
        decay (float): Factor from one layer to the one below, in (0, 1].

    Raises:
        ValueError: The backbone cannot tell its layers, or takes all for one: mmseg's and mmdet's
            own constructors would silently treat all of them alike.
    """
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'get_layer_depth'):
        raise ValueError(
            'optim_wrapper.paramwise_cfg.layer_decay_rate: model.backbone '
            f'({type(backbone).__name__}) has no get_layer_depth(); take '
            'dino_mm.VisionTransformer or a backbone of mmpretrain that has it'
        )
    names = [f'backbone.{name}' for name, _ in backbone.named_parameters()]
    if len({backbone.get_layer_depth(name, 'backbone.') for name in names}) == 1:
        raise ValueError(
            f'optim_wrapper.paramwise_cfg.layer_decay_rate: {type(backbone).__name__}.'
            f'get_layer_depth() knows none of its layers, such as {names[-1]}'
        )
    rates = {}
    for name, param in model.named_parameters():
        if param.requires_grad:
            rates[name] = 1.0
            if name.startswith('backbone.'):
                depth, layers = backbone.get_layer_depth(name, 'backbone.')
                rates[name] = decay ** (layers - 1 - depth)
    return rates


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Parameter groups by layer, one constructor for mmpretrain, mmseg and mmdet.

    ``paramwise_cfg`` takes ``layer_decay_rate`` (float), see :func:`layer_rates`. Biases, 1-D
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
        key = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
        check_number(key, decay, above=0, at_most=1)
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
