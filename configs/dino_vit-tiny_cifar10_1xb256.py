"""DINO, a small ViT with patches of 4 pixels, on CIFAR-10, one GPU.

Command: python tools/train.py configs/dino_vit-tiny_cifar10_1xb256.py
Cost and result: not measured. Small-data settings, see the schedule.
"""

_base_ = [
    './_base_/models/dino_vit-s16_small_data.py',
    './_base_/datasets/cifar10.py',
    './_base_/schedules/dino_small_data.py',
]

model = dict(
    backbone=dict(arch='tiny', img_size=32, patch_size=4), head=dict(in_dim=192, out_dim=1024)
)
