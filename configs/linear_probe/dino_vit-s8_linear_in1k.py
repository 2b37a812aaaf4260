"""Linear classification on ImageNet-1k, frozen ViT-S/8, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/linear_probe/dino_vit-s8_linear_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 100 epochs of forward passes.
Published: 79.7 top-1 (README of the reference); not reproduced here.
"""

_base_ = [
    '../_base_/models/linear_vit-s16.py',
    '../_base_/datasets/imagenet_linear.py',
    '../_base_/schedules/linear_sgd_100e.py',
]

model = dict(backbone=dict(patch_size=8, init_cfg=dict(checkpoint='dino_vits8')))
