"""Writes a backbone as an ONNX graph and checks its answers."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dino_mm.checkpoint.loader import NETWORKS, backbone_config, build_backbone, read_weights
from dino_mm.models import VisionTransformer
from dino_mm.models.backbones.windows import GridAttention
from dino_mm.utils.files import plain

from .export import TOLERANCE, provenance

#: See :func:`dino_mm.models.backbones.vision_transformer.interpolate_pos_embed`.
INTERPOLATE_MODES = ('reference', 'exact', 'antialias')


class _Tokens(nn.Module):
    """Returns class token (B, C) and patch tokens (B, N, C) of our ViT, so that both have names."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.backbone.get_intermediate_layers(image)[0]
        return tokens[:, 0], tokens[:, self.backbone.num_prefix_tokens :]


def check_dynamic(backbone: nn.Module) -> None:
    """Refuses backbones whose graph cannot take images of any size.

    Raises:
        ValueError: The message says what to do.
    """
    if not isinstance(backbone, VisionTransformer):
        raise ValueError(
            f'only dino_mm.VisionTransformer is exported for images of any size, not '
            f'{type(backbone).__name__}: leave --dynamic out'
        )
    if backbone.interpolate_mode == 'reference':
        raise ValueError(
            "interpolate_mode 'reference' resizes the position embedding by scale factors that a "
            'graph for images of any size cannot hold: pass --interpolate-mode exact, which gives '
            'the same features at the size of pretraining and similar ones at others, or leave '
            '--dynamic out'
        )
    if any(isinstance(block.attn, GridAttention) for block in backbone.blocks):
        raise ValueError(
            'window attention and relative positions need images of a fixed size: leave --dynamic '
            'out and pass --size'
        )


def run_onnx(path: str | os.PathLike, image: np.ndarray) -> list[np.ndarray]:
    """Runs an ONNX file, by onnxruntime where it is installed, else by ONNX's slow reference."""
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(str(path)).run(None, {'image': image})
    session = InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session.run(None, {'image': image})


@torch.no_grad()
def export_onnx(
    backbone: nn.Module,
    path: str | os.PathLike,
    image: Tensor,
    meta: dict | None = None,
    dynamic: bool = False,
) -> float:
    """Writes a backbone as a graph for any batch of images of one size or, on demand, of any size.

    Our ViT gives ``class_token`` (B, C) and ``patch_tokens`` (B, N, C), both after the final norm;
    other backbones give ``feature_0``, ``feature_1``, ... as they return them.

    Args:
        backbone (nn.Module): A backbone on the CPU. For a fixed size its position embedding is
            best made for the size of ``image``, so that the graph does not interpolate.
        path (str): The file to write.
        image (Tensor): An example (B, C, H, W), B at least 2.
        meta (dict, optional): Provenance, stored as JSON in the file's metadata ``dino_mm``.
        dynamic (bool): Let height and width vary as well, from two patches on; see
            :func:`check_dynamic`.

    Returns:
        float: The largest difference of its outputs to PyTorch's, on the example, on one image
        alone and, where sizes vary, on images of other sizes.

    Raises:
        ValueError: The difference is beyond :data:`TOLERANCE`, or sizes cannot vary.
        ImportError: A package is missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'ONNX export needs {error.name}: pip install onnx onnxscript onnxruntime'
        ) from error
    batches, dims = [image, image[:1]], {0: torch.export.Dim('batch')}
    if dynamic:
        check_dynamic(backbone)
        patch, least = backbone.patch_size, 2 * backbone.patch_size
        dims |= {i: torch.export.Dim(f'side_{i}', min=least) for i in (2, 3)}
        sizes = [(least, least + patch), [side * patch for side in backbone.grid]]
        batches += [torch.randn(1, image.shape[1], *size) for size in sizes]
    ours = isinstance(backbone, VisionTransformer)
    module = _Tokens(backbone) if ours else backbone
    module.eval()
    expected = module(image)
    names = [f'feature_{i}' for i in range(len(expected))]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f'.{path.name}.{os.getpid()}.onnx')
    try:
        torch.onnx.export(
            module,
            (image,),
            str(scratch),
            input_names=['image'],
            output_names=['class_token', 'patch_tokens'] if ours else names,
            dynamic_shapes=(dims,),
            external_data=False,
            verbose=False,
        )
        graph = onnx.load(scratch)
        onnx.helper.set_model_props(graph, {'dino_mm': json.dumps(plain(meta or {}))})
        onnx.save(graph, scratch)
        difference = max(
            float(np.abs(theirs - wanted.numpy()).max())
            for batch in batches
            for wanted, theirs in zip(module(batch), run_onnx(scratch, batch.numpy()), strict=True)
        )
        if not difference <= TOLERANCE:
            raise ValueError(
                f'outputs of the ONNX graph differ by {difference:.2e}, more than {TOLERANCE:.0e}'
            )
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return difference


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: the backbone of any checkpoint as ONNX."""
    parser = argparse.ArgumentParser(description='Export the backbone of a checkpoint to ONNX.')
    parser.add_argument('checkpoint', help='checkpoint of any layout, or a published name')
    parser.add_argument('out', help='file to write')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--size', type=int, nargs='+', help='image size: edge, or height and width')
    size.add_argument('--dynamic', action='store_true', help='take images of any size')
    parser.add_argument(
        '--interpolate-mode',
        choices=INTERPOLATE_MODES,
        help='how the position embedding is resized; by default as the checkpoint says',
    )
    parser.add_argument('--network', choices=NETWORKS, help='the teacher by default')
    args = parser.parse_args(arguments)
    weights = read_weights(args.checkpoint, args.network)
    config = backbone_config(weights)
    size = args.size or config.get('img_size', 224)
    size = [size] if isinstance(size, int) else list(size)
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2:
        parser.error(f'--size takes an edge, or height and width, not {size}')
    changes = {}
    if config['type'] == 'dino_mm.VisionTransformer':
        changes = dict(img_size=size)
        if args.interpolate_mode:
            changes['interpolate_mode'] = args.interpolate_mode
    elif args.interpolate_mode:
        parser.error(f'--interpolate-mode is for dino_mm.VisionTransformer, not {config["type"]}')
    backbone = build_backbone(weights, changes)
    if args.dynamic:
        try:
            check_dynamic(backbone)
        except ValueError as error:
            parser.error(str(error))
        # An example of another grid than the position embedding's, so that the graph resizes it.
        size = [size[0] + backbone.patch_size, size[1] + 2 * backbone.patch_size]
    image = torch.randn(2, config.get('in_channels', 3), *size)
    meta = provenance(weights) | dict(backbone=config | changes)
    difference = export_onnx(backbone, args.out, image, meta, args.dynamic)
    kind = 'any size' if args.dynamic else f'{size[0]}x{size[1]}'
    print(
        f'{args.out}: {type(backbone).__name__} for images of {kind}, largest difference of '
        f'outputs {difference:.2e}'
    )
