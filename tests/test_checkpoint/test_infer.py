"""Configs of backbones."""

import pytest
import torch

from dino_mm.checkpoint import load_backbone
from dino_mm.checkpoint.export import export_backbone
from dino_mm.models import VisionTransformer

from .conftest import ARCH, randomize, tokens


@pytest.mark.parametrize('rel_pos', [False, True])
@pytest.mark.parametrize('window_size', [0, 2])
def test_windows_and_relative_positions_are_exported(window_size, rel_pos, image, tmp_path):
    options = dict(window_size=window_size, global_indices=(-1,), rel_pos=rel_pos)
    vit = randomize(VisionTransformer(ARCH, img_size=32, patch_size=8, **options))
    export_backbone(vit, tmp_path / 'backbone.pth')
    loaded = load_backbone(tmp_path / 'backbone.pth')
    assert torch.equal(tokens(loaded, image), tokens(vit, image))
