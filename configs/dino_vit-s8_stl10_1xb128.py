"""DINO, ViT-S/8, on the unlabeled images of STL-10 at 96 pixels, one GPU.

Command: python tools/train.py configs/dino_vit-s8_stl10_1xb128.py
Cost and result: not measured. Small-data settings, see the schedule.
"""

_base_ = [
    './_base_/models/dino_vit-s16_small_data.py',
    './_base_/datasets/stl10.py',
    './_base_/schedules/dino_small_data.py',
]

model = dict(backbone=dict(img_size=96, patch_size=8))
