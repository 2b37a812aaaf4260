"""UPerNet on a ViT of width 128, trained whole, CamVid in small: for a CPU.

Command: python tools/train.py configs/segmentation/upernet_vit-tiny_camvid.py --cfg-options
    model.backbone.init_cfg.checkpoint=work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth
Random backbone: --cfg-options model.backbone.init_cfg=None
Cost and result: docs/segmentation.md.
"""

_base_ = [
    '../_base_/models/upernet_vit-s16.py',
    '../_base_/datasets/camvid_small.py',
    '../_base_/schedules/seg_20k.py',
]

num_classes = 11
model = dict(
    data_preprocessor=dict(size=(144, 144), test_cfg=dict(size_divisor=8)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        img_size=144,
        patch_size=8,
        stem='conv',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        weight_init='xavier',
        init_cfg=dict(checkpoint='work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth'),
    ),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128, 128, 128, 128], channels=32, num_classes=num_classes),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=num_classes),
    test_cfg=dict(mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.9))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=600),
]
train_cfg = dict(max_iters=600, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300))
randomness = dict(seed=0)
