"""Published vanilla schedule: AdamW, 100 epochs, every schedule a function of the iteration."""

optim_wrapper = dict(
    type='DINOOptimWrapper',
    constructor='DINOOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4),  # for 256 images
    clip_grad=3.0,
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = dict(type='WarmupCosineLR', warmup=10, eta_min=1e-6, convert_to_iter_based=True)
train_cfg = dict(type='ResumableTrainLoop', max_epochs=100)
custom_hooks = [
    dict(type='SetEpochHook'),
    dict(type='WeightDecayHook', start=0.04, end=0.4),
    dict(type='FreezeLastLayerHook', epochs=1),
    dict(type='EMAHook', momentum=0.996),
    dict(type='MonitorHook', interval=50),
    dict(type='InterruptHook'),
]
