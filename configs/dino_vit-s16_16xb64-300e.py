"""DINO, ViT-S/16, 300 epochs of ImageNet-1k, 16 GPUs x 64 images: the boosted recipe.

Command: NNODES=2 NODE_RANK=... MASTER_ADDR=... tools/dist_train.sh configs/dino_vit-s16_16xb64-300e.py 8
Cost: 2.6 days on 16 V100 (published).
Published: 73.3 k-NN, 76.0 linear (README of the reference); not reproduced here.
"""

_base_ = [
    './_base_/models/dino_vit-s16_boosted.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_adamw_100e.py',
]

train_cfg = dict(max_epochs=300)
