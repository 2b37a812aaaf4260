"""Quickstart: DINO on embedded handwritten digits, without a download.

Command: python tools/train.py configs/quickstart/dino_vit-tiny_digits.py
Cost: about 5 minutes on 2 cores.
"""

_base_ = [
    '../_base_/models/dino_vit-s16.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/dino_adamw_100e.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=96, num_layers=4, num_heads=3),
        img_size=32,
        patch_size=4,
        # The published initialisation is made for widths of 384 and more.
        weight_init='xavier',
        pos_embed_std=0.5,
    ),
    head=dict(in_dim=96, out_dim=512, hidden_dim=256, bottleneck_dim=64),
    loss=dict(warmup_teacher_temp=0.02, teacher_temp=0.02),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(warmup=2)
train_cfg = dict(max_epochs=20, val_interval=4)
default_hooks = dict(
    ema=dict(momentum=0.99),
    logger=dict(interval=20),
    monitor=dict(interval=20),
    checkpoint=dict(interval=4),
    report=dict(raw_pixels=True),
)
randomness = dict(seed=0)
