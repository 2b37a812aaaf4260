"""Parameter groups of DINO."""

from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dino_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from dino_mm.utils.checks import check_number

from .layer_decay import backbone_rates

PARAMWISE = 'optim_wrapper.paramwise_cfg'
#: Keys of ``paramwise_cfg`` whose value is one factor, for parameters of one kind.
FACTORS = (
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
)


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


def check_paramwise(cfg: dict, decay: list[str], no_decay: list[str]) -> None:
    """Refuses a ``paramwise_cfg`` that would be ignored, as a whole or in part.

    Args:
        cfg (dict): The ``paramwise_cfg``.
        decay, no_decay (list[str]): Names of :func:`regularized_names`.

    Raises:
        ValueError: An unknown key, a factor out of range, or a custom key that changes nothing.
    """
    unknown = sorted(cfg.keys() - {'custom_keys', 'layer_decay_rate', *FACTORS})
    if unknown:
        raise ValueError(
            f'{PARAMWISE}: unknown key {", ".join(unknown)}; '
            f'DINOOptimWrapperConstructor knows custom_keys, layer_decay_rate, {", ".join(FACTORS)}'
        )
    for key in cfg.keys() - {'custom_keys', 'layer_decay_rate'}:
        check_number(f'{PARAMWISE}.{key}', cfg[key], at_least=0)
    for key, factors in cfg.get('custom_keys', {}).items():
        where = f'{PARAMWISE}.custom_keys[{key!r}]'
        if not isinstance(factors, dict) or factors.keys() - {'lr_mult', 'decay_mult'}:
            raise ValueError(f'{where} takes lr_mult and decay_mult and nothing else: {factors}')
        for name, factor in factors.items():
            check_number(f'{where}.{name}', factor, at_least=0)
        if not any(key in name for name in decay + no_decay):
            raise ValueError(
                f'{where} is part of no name of a trainable parameter; these are such as '
                f'{", ".join(decay[:2] + no_decay[:1])}'
            )
        if factors.get('decay_mult') and not any(key in name for name in decay):
            raise ValueError(
                f'{where}.decay_mult multiplies the weight decay of biases and 1-D tensors alone, '
                f'which have none; set {PARAMWISE}.bias_decay_mult, norm_decay_mult or '
                'flat_decay_mult to give them some'
            )


def paramwise_factors(model: nn.Module, cfg: dict) -> dict[str, tuple[float, float]]:
    """Factors of learning rate and of weight decay of each trainable parameter.

    Without a word in ``cfg`` they are 1 and 1, or 1 and 0 for biases and 1-D tensors. The longest
    custom key that is part of a name decides alone and multiplies both; else the keys for one kind
    of parameter replace one of them, as in :class:`mmengine.optim.DefaultOptimWrapperConstructor`.

    Args:
        model (nn.Module): Owner of the parameters.
        cfg (dict): ``custom_keys``, :data:`FACTORS`, and ``layer_decay_rate``, which multiplies the
            rates of the student's backbone on top (see :func:`.layer_decay.backbone_rates`).
    """
    decay, no_decay = regularized_names(model)
    check_paramwise(cfg, decay, no_decay)
    custom = sorted(cfg.get('custom_keys', {}).items(), key=lambda item: (-len(item[0]), item[0]))
    kinds = {}  # parameter: whether it is one of a normalization, and of a depthwise convolution
    for module in model.modules():
        is_norm = isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm))
        is_depthwise = isinstance(module, nn.Conv2d) and module.in_channels == module.groups
        kinds |= dict.fromkeys(module.parameters(recurse=False), (is_norm, is_depthwise))
    params, decayed = dict(model.named_parameters()), set(decay)
    layers = {}
    if 'layer_decay_rate' in cfg:
        rates = backbone_rates(model.student.backbone, cfg['layer_decay_rate'])
        layers = {f'student.backbone.{name}': rate for name, rate in rates.items()}
    factors = {}
    for name in decay + no_decay:
        rate, decays = 1.0, float(name in decayed)
        own = next((value for key, value in custom if key in name), None)
        is_norm, is_depthwise = kinds[params[name]]
        is_bias = name.split('.')[-1] == 'bias'
        if own is not None:
            rate, decays = own.get('lr_mult', 1.0), decays * own.get('decay_mult', 1.0)
        else:
            if is_bias and not is_norm:
                rate = cfg.get('bias_lr_mult', 1.0)
            rules = dict(
                norm=is_norm, bias=is_bias, dwconv=is_depthwise, flat=params[name].ndim == 1
            )
            for kind, applies in rules.items():
                if applies and f'{kind}_decay_mult' in cfg:
                    decays = cfg[f'{kind}_decay_mult']
                    break
        factors[name] = rate * layers.get(name, 1.0), decays
    return factors


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DINOOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds the optimizer with a regularized and an unregularized parameter group.

    The groups carry ``name='decay'`` and ``name='no_decay'``, by which
    :class:`dino_mm.engine.hooks.WeightDecayHook` finds the first. The learning rate is multiplied
    by ``accumulative_counts``: MMEngine's ``auto_scale_lr`` counts batch size and ranks only, so
    that both together give ``lr * batch * accumulation * world / base_batch_size``.

    ``paramwise_cfg`` works as in MMEngine, see :func:`paramwise_factors`. Parameters with factors
    of their own follow in further groups of the same two names, which hold ``lr_mult`` and
    ``decay_mult`` for the schedules of learning rate and weight decay.

    Example::

        optim_wrapper = dict(
            type='DINOOptimWrapper',
            constructor='DINOOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=5e-4),
            paramwise_cfg=dict(custom_keys={'backbone.patch_embed': dict(lr_mult=0)}),  # frozen
        )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        optimizer = optim_wrapper_cfg.get('optimizer')
        if not isinstance(optimizer, dict) or not {'type', 'lr'} <= optimizer.keys():
            raise ValueError(
                "optim_wrapper.optimizer must be a dict such as dict(type='AdamW', lr=5e-4), "
                f'got {optimizer!r}'
            )
        check_number('optim_wrapper.optimizer.lr', optimizer['lr'], at_least=0)
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def _validate_cfg(self) -> None:
        """MMEngine's version asks for a weight decay, which here comes from a hook."""
        if not isinstance(self.paramwise_cfg, dict):
            raise ValueError(f'{PARAMWISE} must be a dict, got {self.paramwise_cfg!r}')

    def __call__(self, model: nn.Module):
        if is_model_wrapper(model):
            model = model.module
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'dino_mm.DINOOptimWrapper')
        accumulated = wrapper_cfg.get('accumulative_counts', 1)
        check_number('optim_wrapper.accumulative_counts', accumulated, whole=True, at_least=1)
        optimizer_cfg = dict(self.optimizer_cfg)
        optimizer_cfg['lr'] = optimizer_cfg['lr'] * accumulated
        params = dict(model.named_parameters())
        published = {'decay': {}, 'no_decay': dict(weight_decay=0.0)}
        groups = {
            key: dict(params=[], names=[], name=key[0], **published[key[0]])
            for key in (('decay', 1, 1), ('no_decay', 1, 0))
        }
        for name, (rate, decay) in paramwise_factors(model, self.paramwise_cfg).items():
            kind = 'decay' if decay else 'no_decay'
            own = dict(lr_mult=rate, decay_mult=decay)
            group = groups.setdefault(
                (kind, rate, decay), dict(params=[], names=[], name=kind, **published[kind], **own)
            )
            group['params'].append(params[name])
            group['names'].append(name)
        optimizer = OPTIMIZERS.build(dict(optimizer_cfg, params=list(groups.values())))
        for group in optimizer.param_groups[2:]:
            group['lr'] *= group['lr_mult']
            group['weight_decay'] *= group['decay_mult']
        wrapper_cfg['optimizer'] = optimizer
        return OPTIM_WRAPPERS.build(wrapper_cfg)
