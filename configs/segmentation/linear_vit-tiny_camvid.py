"""Linear head on frozen patch tokens of a ViT of width 128, CamVid in small: for a CPU.

Command: python tools/train.py configs/segmentation/linear_vit-tiny_camvid.py --cfg-options
    model.backbone.init_cfg.checkpoint=work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth
Random backbone: --cfg-options model.backbone.init_cfg=None
Cost and result: docs/segmentation.md.
"""

_base_ = [
    '../_base_/models/linear_seg_vit-s16.py',
    '../_base_/datasets/camvid_small.py',
    '../_base_/schedules/seg_linear_4k.py',
]

model = dict(
    data_preprocessor=dict(size=(144, 144), test_cfg=dict(size_divisor=8)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        img_size=144,
        patch_size=8,
        stem='conv',
        weight_init='xavier',
        init_cfg=dict(checkpoint='work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth'),
    ),
    decode_head=dict(in_channels=128, num_classes=11),
    test_cfg=dict(mode='whole'),
)
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=1000),
]
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
randomness = dict(seed=0)
