"""Linear classification on ImageNet-1k, frozen ResNet-50, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/linear_probe/dino_resnet50_linear_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 100 epochs of forward passes.
Published: 75.3 top-1 (README of the reference); not reproduced here.
"""

_base_ = [
    '../_base_/models/linear_vit-s16.py',
    '../_base_/datasets/imagenet_linear.py',
    '../_base_/schedules/linear_sgd_100e.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        out_indices=(3,),
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_resnet50'),
    ),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=2048),
)
