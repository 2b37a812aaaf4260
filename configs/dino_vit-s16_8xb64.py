"""DINO, ViT-S/16, 100 epochs of ImageNet-1k, 8 GPUs x 64 images: the vanilla recipe.

Command: tools/dist_train.sh configs/dino_vit-s16_8xb64.py 8
Cost: 1.75 days on 8 V100 (published).
Published: 69.3 k-NN, 74.0 linear (README of the reference); not reproduced here.
"""

_base_ = [
    './_base_/models/dino_vit-s16.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_adamw_100e.py',
]
