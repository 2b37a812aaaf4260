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
from dino_mm.utils.files import plain

from .export import TOLERANCE, provenance


class _Tokens(nn.Module):
    """Our ViT with its outputs named: class token (B, C) and patch tokens (B, N, C)."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.backbone.get_intermediate_layers(image)[0]
        return tokens[:, 0], tokens[:, self.backbone.num_prefix_tokens :]


def run_onnx(path: str | os.PathLike, image: np.ndarray) -> list[np.ndarray]:
    """Outputs of an ONNX file, by onnxruntime where installed, else by ONNX's slow reference."""
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(str(path)).run(None, {'image': image})
    session = InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session.run(None, {'image': image})


@torch.no_grad()
def export_onnx(
    backbone: nn.Module, path: str | os.PathLike, image: Tensor, meta: dict | None = None
) -> float:
    """Writes a backbone for images of one size and any batch.

    Our ViT gives ``class_token`` (B, C) and ``patch_tokens`` (B, N, C), both after the final norm;
    other backbones give ``feature_0``, ``feature_1``, ... as they return them.

    Args:
        backbone (nn.Module): On the CPU. Best with the position embedding made for the size of
            ``image``, so that the graph does not interpolate.
        path (str): File to write.
        image (Tensor): Example (B, C, H, W), B at least 2.
        meta (dict, optional): Provenance, stored as JSON in the file's metadata ``dino_mm``.

    Returns:
        float: Largest difference of its outputs, on the example and on one image alone.

    Raises:
        ValueError: It is beyond :data:`TOLERANCE`.
        ImportError: A package is missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'ONNX export needs {error.name}: pip install onnx onnxscript onnxruntime'
        ) from error
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
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            external_data=False,
            verbose=False,
        )
        graph = onnx.load(scratch)
        onnx.helper.set_model_props(graph, {'dino_mm': json.dumps(plain(meta or {}))})
        onnx.save(graph, scratch)
        difference = max(
            float(np.abs(theirs - wanted.numpy()).max())
            for batch in (image, image[:1])
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
    parser.add_argument('--size', type=int, nargs='+', help='image size: edge, or height and width')
    parser.add_argument('--network', choices=NETWORKS, default='teacher')
    args = parser.parse_args(arguments)
    weights = read_weights(args.checkpoint, args.network)
    config = backbone_config(weights)
    size = args.size or config.get('img_size', 224)
    size = [size] if isinstance(size, int) else list(size)
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2:
        parser.error(f'--size takes an edge, or height and width, not {size}')
    vit = config['type'] == 'dino_mm.VisionTransformer'
    backbone = build_backbone(weights, dict(img_size=size) if vit else None)
    image = torch.randn(2, config.get('in_channels', 3), *size)
    meta = provenance(weights) | dict(backbone=dict(config, img_size=size) if vit else config)
    difference = export_onnx(backbone, args.out, image, meta)
    print(
        f'{args.out}: {type(backbone).__name__} for images of {size[0]}x{size[1]}, largest '
        f'difference of outputs {difference:.2e}'
    )
