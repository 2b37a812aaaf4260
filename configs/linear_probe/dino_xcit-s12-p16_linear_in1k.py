"""Linear classification on ImageNet-1k, frozen XCiT-S12/16, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/linear_probe/dino_xcit-s12-p16_linear_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 100 epochs of forward passes.
Published: 77.8 top-1 (README of the reference); not reproduced here.
"""

_base_ = [
    '../_base_/models/linear_vit-s16.py',
    '../_base_/datasets/imagenet_linear.py',
    '../_base_/schedules/linear_sgd_100e.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.XCiT',
        patch_size=16,
        embed_dims=384,
        depth=12,
        num_heads=8,
        layer_scale_init_value=1.0,
        tokens_norm=True,
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_xcit_small_12_p16'),
    ),
    neck=None,
    head=dict(in_channels=384),
)
