"""Quickstart on embedded data."""

_base_ = ['../_base_/datasets/digits.py', '../_base_/default_runtime.py']

max_epochs = 20
model = dict(
    type='DINO',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3),
        img_size=32,
        patch_size=4,
        weight_init='xavier',
        pos_embed_std=0.5,
    ),
    neck=dict(type='ClassToken'),
    head=dict(type='DINOHead', in_dim=96, out_dim=512, hidden_dim=256, bottleneck_dim=64),
    loss=dict(
        type='DINOLoss',
        teacher_temp=0.02,
        warmup_teacher_temp=0.02,
        warmup_teacher_temp_epochs=0,
    ),
)
optim_wrapper = dict(
    type='DINOOptimWrapper',
    constructor='DINOOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3),
    clip_grad=3.0,
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, end=2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=2,
        end=max_epochs,
        eta_min=1e-6,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=max_epochs, val_interval=5)
custom_hooks = [
    dict(type='SetEpochHook'),
    dict(type='WeightDecayHook', start=0.04, end=0.4),
    dict(type='FreezeLastLayerHook', epochs=1),
    dict(type='EMAHook', momentum=0.99),
    dict(type='MonitorHook', interval=20),
    dict(type='InterruptHook'),
]
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=5, save_best='knn/k20_top1')
)
randomness = dict(seed=0)
