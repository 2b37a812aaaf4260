"""Quickstart: DINO with the coding rate on embedded handwritten digits, without a download.

Command: python tools/train.py configs/quickstart/dino_vit-tiny_digits.py
"""

_base_ = ['../_base_/datasets/digits.py', '../_base_/schedules/dino_adamw_100e.py']

model = dict(
    type='DINO',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=96, num_layers=4, num_heads=3),
        img_size=32,
        patch_size=8,
        stem='conv',
        weight_init='xavier',  # the published one is made for widths of 384 and more
    ),
    neck=dict(type='ClassToken'),
    head=dict(type='DINOHead', in_dim=96, out_dim=512, hidden_dim=256, bottleneck_dim=64),
    loss=dict(type='DINOLoss', warmup_teacher_temp=0.03, teacher_temp=0.03),
    # Without it the outputs for few images stay alike.
    objectives=dict(coding_rate=dict(type='CodingRateLoss')),
)
optim_wrapper = dict(dtype='auto', optimizer=dict(lr=4e-3))  # for 256 images
param_scheduler = dict(warmup='4%', eta_min=2e-5)
train_cfg = dict(max_epochs=75, val_interval=25)
default_hooks = dict(
    weight_decay=dict(end=0.04),
    freeze_last_layer=dict(epochs=0),
    ema=dict(momentum=0.98),  # short, as the run is
    checkpoint=dict(interval=25),
    report=dict(raw_pixels=True),
)
randomness = dict(seed=0)
