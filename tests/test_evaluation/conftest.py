"""Real images, where this machine has them."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """Folder named by DINO_MM_DATA."""
    if 'DINO_MM_DATA' not in os.environ:
        pytest.skip('needs real images: set DINO_MM_DATA to their folder')
    return Path(os.environ['DINO_MM_DATA'])
