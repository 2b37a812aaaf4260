"""Published vanilla schedule: AdamW, 100 epochs, every schedule per iteration."""

max_epochs = 100
warmup_epochs = 10

optim_wrapper = dict(
    type='DINOOptimWrapper',
    constructor='DINOOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999)),  # lr per 256 images
    clip_grad=3.0,
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        end=max_epochs,
        eta_min=1e-6,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=max_epochs)
custom_hooks = [
    dict(type='SetEpochHook'),
    dict(type='WeightDecayHook', start=0.04, end=0.4),
    dict(type='FreezeLastLayerHook', epochs=1),
    dict(type='EMAHook', momentum=0.996),
    dict(type='MonitorHook', interval=50),
    dict(type='InterruptHook'),
]
