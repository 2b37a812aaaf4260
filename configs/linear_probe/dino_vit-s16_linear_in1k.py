"""Linear classification on ImageNet-1k, frozen ViT-S/16, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/linear_probe/dino_vit-s16_linear_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 100 epochs of forward passes.
Published: 77.0 top-1 (README of the reference); not reproduced here.
"""

_base_ = [
    '../_base_/models/linear_vit-s16.py',
    '../_base_/datasets/imagenet_linear.py',
    '../_base_/schedules/linear_sgd_100e.py',
]
