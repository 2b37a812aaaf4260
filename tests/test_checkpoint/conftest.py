"""A small ViT with weights that make every tensor count."""

import pytest
import torch
from torch import Tensor, nn

from dino_mm.models import VisionTransformer

ARCH = dict(embed_dims=128, num_layers=2, num_heads=2)


def randomize(module: nn.Module) -> nn.Module:
    """Weights and statistics far from their initial values, so that no mix-up goes unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            std = 0.05 if value.dim() > 1 else 0.5
            value.normal_(std=std, generator=generator)
            if name.endswith('running_var'):
                value.abs_().add_(0.5)
    module.eval()
    return module


@torch.no_grad()
def tokens(module: VisionTransformer, image: Tensor) -> Tensor:
    """All tokens after the last block, (B, T, C)."""
    return module.get_intermediate_layers(image)[0]


@pytest.fixture
def vit() -> VisionTransformer:
    return randomize(VisionTransformer(ARCH, img_size=32, patch_size=8))


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
