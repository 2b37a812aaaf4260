"""Embedded digits as a segmentation set."""

import numpy as np
import pytest
from PIL import Image

from dino_mm.datasets import DigitMasks


def test_masks_hold_background_and_digits(tmp_path) -> None:
    dataset = DigitMasks(data_root=str(tmp_path), split='val', scene_size=48, indices=6)
    assert len(dataset) == 6 and len(dataset.metainfo['classes']) == 11
    assert len(dataset.metainfo['palette']) == 11
    ids = set()
    for i in range(6):
        mask = np.asarray(Image.open(dataset[i]['seg_map_path']))
        assert mask.shape == (48, 48) and mask.max() <= 10 and (mask == 0).any()
        ids |= set(mask.ravel().tolist())
    assert len(ids) > 5


def test_one_digit_has_no_mask(tmp_path) -> None:
    with pytest.raises(ValueError, match='digits_per_scene'):
        DigitMasks(data_root=str(tmp_path), digits_per_scene=1)
