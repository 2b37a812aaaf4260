"""Speed and memory of a training step on one batch that lies ready on the device."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from dino_mm.engine.hooks import CompileHook
from dino_mm.evaluation.report import write_json
from dino_mm.models import VisionTransformer
from dino_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from dino_mm.utils.precision import best_amp_dtype

from . import harness
from .flops import matmul_peak, step_flops
from .memory import calculate_peak
from .plain_model import PLAIN_STEMS, PlainDINO, PlainHead, PlainNetwork, PlainViT
from .reference import published_step
from .runner_overhead import measure_overhead

#: Our step with one technique changed: options of backbone, loss, model, optimizer and wrapper.
CHANGES: dict[str, dict] = {
    'float32': dict(wrapper=dict(dtype=None)),
    'explicit_attention': dict(backbone=dict(attention='eager')),
    'fused_attention': dict(backbone=dict(attention='sdpa')),
    'one_size_at_a_time': dict(packed=False),
    'all_tokens': dict(backbone=dict(out_type='raw')),
    'loss_by_autograd': dict(loss=dict(chunk_size=0)),
    'logits_in_chunks': dict(model=dict(logit_chunk=16)),
    'unfused_adamw': dict(optimizer=dict(fused=False)),
    'bfloat16_teacher': dict(model=dict(teacher_dtype='bfloat16')),
    'recompute_attention': dict(backbone=dict(activation_checkpointing='attn')),
    'recompute_half': dict(backbone=dict(activation_checkpointing=6)),
    'recompute_all': dict(backbone=dict(activation_checkpointing=True)),
    'compiled': dict(compiled=True),
}
#: The published algorithm, as written here and as published.
PUBLISHED = ('plain', 'reference', 'reference_float16')
#: Those whose memory on a GPU is of interest.
CALCULATED = ('ours', 'logits_in_chunks', 'recompute_half', 'recompute_all', 'explicit_attention')


@dataclass(frozen=True)
class Network:
    """What is trained: backbone, head and crops, all in numbers."""

    width: int
    depth: int
    heads: int
    patch: int
    arch: str = ''  # its name in the published code
    stem: str = 'linear'
    drop_path: float = 0.1
    hidden: int = 2048
    bottleneck: int = 256
    out_dim: int = 65536
    global_size: int = 224
    local_size: int = 96
    locals: int = 8

    @property
    def sizes(self) -> list[int]:
        """Edges of the crops in pixels."""
        return [self.global_size] * 2 + [self.local_size] * self.locals


def published_networks() -> dict[str, Network]:
    """The published vision transformers by the names of ``--model``."""
    found = {}
    for letters, arch in dict(ti='tiny', s='small', b='base', l='large').items():
        settings = VisionTransformer.arch_settings[arch]
        shape = (settings['embed_dims'], settings['num_layers'], settings['num_heads'])
        found |= {f'vit-{letters}{patch}': Network(*shape, patch, arch) for patch in (8, 16)}
    return found


#: That of configs/dino_vit-tiny_imagenette_1xb128.py, for thumbnails on a CPU.
THUMBNAILS = Network(
    128,
    depth=4,
    heads=4,
    patch=8,
    stem='conv',
    drop_path=0.0,
    hidden=512,
    bottleneck=64,
    out_dim=1024,
    global_size=48,
    local_size=24,
    locals=4,
)


def crops(args: Namespace) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(args.batch, 3, size, size) for size in args.network.sizes]
    return [torch.randn(shape, generator=generator).to(args.device) for shape in shapes]


def our_model(
    args: Namespace,
    backbone: dict | None = None,
    loss: dict | None = None,
    model: dict | None = None,
    packed: bool = True,
) -> nn.Module:
    """The configs' model, but for the given options."""
    shape = args.network
    settings = dict(
        arch=dict(embed_dims=shape.width, num_layers=shape.depth, num_heads=shape.heads),
        img_size=shape.global_size,
        patch_size=shape.patch,
        stem=shape.stem,
        drop_path_rate=shape.drop_path,
    )
    module = MODELS.build(
        dict(
            type='dino_mm.DINO',
            backbone=dict(type='dino_mm.VisionTransformer', **settings | (backbone or {})),
            head=dict(
                type='dino_mm.DINOHead',
                in_dim=shape.width,
                out_dim=shape.out_dim,
                hidden_dim=shape.hidden,
                bottleneck_dim=shape.bottleneck,
            ),
            loss=dict(type='dino_mm.DINOLoss', **(loss or {})),
            **(model or {}),
        )
    )
    for part in (module.student, module.teacher):
        part.backbone.packs_crops = packed
    return module


def our_step(
    module: nn.Module,
    batch: list[Tensor],
    optimizer: dict | None = None,
    wrapper: dict | None = None,
    compiled: bool = False,
) -> harness.Variant:
    """One iteration with the configs' optimizer, but for the given options."""
    settings = dict(type='dino_mm.DINOOptimWrapper', dtype='auto', clip_grad=3.0) | (wrapper or {})
    settings['optimizer'] = dict(type='AdamW', lr=5e-4, fused=True) | (optimizer or {})
    constructor = dict(type='dino_mm.DINOOptimWrapperConstructor', optim_wrapper_cfg=settings)
    optim_wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build(constructor)(module)
    if compiled:
        CompileHook().compile(module)

    def step() -> None:
        with optim_wrapper.optim_context(module):
            outputs = module(batch, mode='loss')
        optim_wrapper.update_params(outputs['loss'])
        module.update_teacher(0.996)

    return step


def ours(args: Namespace, batch: list[Tensor], **changes) -> harness.Variant:
    """Our step with one of :data:`CHANGES`."""
    of_step = {k: changes.pop(k) for k in ('optimizer', 'wrapper', 'compiled') if k in changes}
    return our_step(our_model(args, **changes).to(args.device), batch, **of_step)


def plain(args: Namespace, batch: list[Tensor]) -> harness.Variant:
    """The published algorithm, plain, in float32."""

    def network(drop_path: float) -> PlainNetwork:
        backbone = PlainViT(
            shape.width,
            shape.depth,
            shape.heads,
            shape.patch,
            shape.global_size,
            drop_path,
            PLAIN_STEMS[shape.stem],
        )
        head = PlainHead(shape.width, shape.hidden, shape.bottleneck, shape.out_dim)
        return PlainNetwork(backbone, head).to(args.device)

    shape = args.network
    model = PlainDINO(network(shape.drop_path), network(0.0), shape.out_dim)

    def step() -> None:
        model.step(batch)

    return step


def variants(args: Namespace) -> dict[str, harness.Variant]:
    batch, cuda = crops(args), torch.device(args.device).type == 'cuda'
    found = dict(ours=ours(args, batch))
    wanted = [] if args.short else args.variants or CHANGES
    found |= {name: ours(args, batch, **CHANGES[name]) for name in wanted}
    found['plain'] = plain(args, batch)
    if args.reference:
        given = (args.reference, args.network.arch, args.network.patch, args.network.out_dim, batch)
        found['reference'] = published_step(*given, half=False)
        if cuda:
            found['reference_float16'] = published_step(*given, half=True)
    return found


def add_efficiency(result: dict, args: Namespace) -> None:
    """Adds achieved TFLOP/s and their share of the machine's matrix products, by formula.

    What is computed a second time to save memory counts once.
    """
    half = best_amp_dtype() or 'float32'
    peaks = {
        name: matmul_peak(getattr(torch, name), args.device)
        for name in dict.fromkeys((half, 'float32'))
    }
    shape = args.network
    network = shape.sizes, shape.patch, shape.width, shape.depth, shape.out_dim
    other = dict(hidden=shape.hidden, bottleneck=shape.bottleneck, stem=shape.stem)
    result['machine']['matmul_tflops'] = {k: round(v / 1e12, 3) for k, v in peaks.items()}
    for name, figures in result['variants'].items():
        peak = peaks['float32' if name in (*PUBLISHED[:2], 'float32') else half]
        class_only = name not in (*PUBLISHED, 'all_tokens')
        achieved = figures['median'] * step_flops(*network, class_only, **other)
        figures['tflops'] = round(achieved / 1e12, 4)
        figures['share_of_matmul_peak'] = round(achieved / peak, 4)
        print(f'{name}: {figures["tflops"]} TFLOP/s, {100 * achieved / peak:.1f} % of matmul')


def calculate(args: Namespace) -> dict[str, float]:
    """Peak GiB of a step in bfloat16 on a GPU, by technique; nothing is computed."""
    found, args.device = {}, 'cpu'
    for name in CALCULATED:
        changes = CHANGES.get(name, {})
        backbone = dict(attention='sdpa') | changes.get('backbone', {})
        module = our_model(args, backbone, dict(chunk_size=args.batch), changes.get('model'))
        build = partial(our_step, module, wrapper=dict(dtype='bfloat16'))
        found[name] = calculate_peak(module, lambda build=build: build(crops(args)))
        print(f'{name:<20}{found[name]:8.1f} GiB, calculated')
    if args.out:
        write_json(dict(benchmark='memory', unit='GiB, calculated', variants=found), args.out)
    return found


def main(arguments: Sequence[str] | None = None) -> dict:
    parser = harness.parser(
        'Images per second of a training step: `ours` as the configs have it, ours with one '
        'technique changed, and `plain` in float32. Memory is counted above weights and moments.'
    )
    networks = published_networks() | {'thumbnails': THUMBNAILS}
    parser.add_argument(
        '--model',
        choices=networks,
        default='vit-s16',
        help='(vit-s16); thumbnails: that of dino_vit-tiny_imagenette_1xb128.py',
    )
    parser.add_argument(
        '--batch', type=int, help='images (GPU: 64, CPU: 8, thumbnails: 128, --short: 2)'
    )
    parser.add_argument('--locals', type=int, help='local crops beside two global (8)')
    parser.add_argument('--out-dim', type=int, help='prototypes (65,536)')
    parser.add_argument('--variants', nargs='*', choices=CHANGES, help='only these (all)')
    parser.add_argument(
        '--runner-overhead',
        action='store_true',
        help="instead: milliseconds per iteration of MMEngine's Runner and all hooks",
    )
    parser.add_argument(
        '--calculate-memory',
        action='store_true',
        help='instead: peak GiB of a step on a GPU, with or without one',
    )
    args = harness.parse(parser, arguments)
    if args.runner_overhead:
        return harness.finish(measure_overhead(args.device, args.repeats), args.out)
    cuda = torch.device(args.device).type == 'cuda'
    small = networks[args.model] is THUMBNAILS
    args.batch = args.batch or (2 if args.short else 128 if small else 64 if cuda else 8)
    given = dict(locals=args.locals, out_dim=args.out_dim)
    changes = {key: value for key, value in given.items() if value is not None}
    args.network = replace(networks[args.model], **changes)
    if args.reference and not args.network.arch:
        parser.error(f'--reference: the published code has no network like {args.model}')
    if args.calculate_memory:
        return calculate(args)
    result = harness.measure('step', variants(args), args.device, args.repeats, items=args.batch)
    add_efficiency(result, args)
    return harness.finish(result, args.out)
