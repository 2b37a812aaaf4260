"""Real images, where this machine has them."""

import os
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from dino_mm.datasets import KNNDataset
from dino_mm.evaluation.linear_probe.labeled import folder_config
from dino_mm.registry import DATASETS

from ..labeled_images import write_colors


@pytest.fixture
def real_data() -> Path:
    """Folder named by DINO_MM_DATA."""
    if 'DINO_MM_DATA' not in os.environ:
        pytest.skip('needs real images: set DINO_MM_DATA to their folder')
    return Path(os.environ['DINO_MM_DATA'])


@pytest.fixture
def labeled(tmp_path) -> KNNDataset:
    """Two images of each color in the bank, and one as a query."""
    root = write_colors(tmp_path / 'labeled', train=2, val=1)
    with DefaultScope.overwrite_default_scope('dino_mm'):
        return DATASETS.build(folder_config(str(root), 32))
