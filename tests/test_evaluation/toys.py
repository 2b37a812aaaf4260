"""A backbone whose answers can be worked out by hand, and scenes to show it."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from PIL import Image
from torch import Tensor

from dino_mm.datasets.digits.scenes import load_split, render_scene
from dino_mm.registry import MODELS


@MODELS.register_module()
class PixelViT(BaseModule):
    """Answers like a vision transformer: patch tokens are pixels, the class token is their mean.

    Of its two attention heads one looks at bright patches, the other at the first patch alone.
    """

    def __init__(self, patch_size: int = 8) -> None:
        super().__init__()
        self.patch_size, self.num_prefix_tokens = patch_size, 1

    def patches(self, x: Tensor) -> Tensor:
        """(B, N, 3 * patch_size ** 2)."""
        return F.unfold(x, self.patch_size, stride=self.patch_size).transpose(1, 2)

    def get_intermediate_layers(self, x: Tensor, n: int = 1) -> list[Tensor]:
        patches = self.patches(x)
        return [torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)] * n

    def get_attention(self, x: Tensor, layer: int = -1) -> Tensor:
        brightness = self.patches(x).mean(dim=2)  # (B, N)
        brightness = brightness - brightness.amin(dim=1, keepdim=True)
        first = torch.zeros_like(brightness)
        first[:, 0] = 1
        heads = F.pad(torch.stack([brightness, first], dim=1), (1, 0))  # (B, 2, 1 + N)
        return heads[:, :, None].expand(-1, -1, heads.shape[-1], -1)


@MODELS.register_module()
class BlindViT(PixelViT):
    """Its answer to a black image is not finite."""

    def patches(self, x: Tensor) -> Tensor:
        return super().patches(x) / (x.amax(dim=(1, 2, 3)) > 0)[:, None, None]


BLACK = np.zeros((64, 64, 3), np.uint8)

#: Leaves black at zero.
TOY_CONFIG = """
model = dict(
    backbone=dict(type='{backbone}', patch_size={patch_size}),
    data_preprocessor=dict(mean=(0.0,) * 3, std=(1.0,) * 3),
)
"""


def toy_arguments(folder: Path, patch_size: int = 8, backbone: str = 'PixelViT') -> list[str]:
    """Command line options of the toy backbone."""
    config = folder / f'{backbone}.py'
    config.write_text(TOY_CONFIG.format(backbone=backbone, patch_size=patch_size))
    work_dir = folder / 'work'
    return [
        *('--config', str(config), '--checkpoint', 'random'),
        *('--work-dir', str(work_dir), '--num-workers', '0'),
    ]


def scene(number: int, size: int = 64) -> np.ndarray:
    """(size, size, 3) uint8 embedded scene."""
    images, labels = load_split('val')
    rng = np.random.default_rng(number)
    return render_scene(images[number : number + 1], labels[number : number + 1], rng, size).image


def save_jpeg(image: np.ndarray, path: Path, quality: int = 95) -> None:
    """Without chroma subsampling: each block of 8 x 8 pixels is then coded by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format='JPEG', quality=quality, subsampling=0)
