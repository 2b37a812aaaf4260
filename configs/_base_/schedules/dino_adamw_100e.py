"""Published vanilla schedule: AdamW, 100 epochs, every schedule a function of the iteration."""

_base_ = '../pretrain_runtime.py'

optim_wrapper = dict(
    type='DINOOptimWrapper',
    constructor='DINOOptimWrapperConstructor',
    dtype='auto',  # bfloat16 where the hardware has it; None for float32
    optimizer=dict(type='AdamW', lr=5e-4, fused=True),  # for 256 images
    clip_grad=3.0,
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = dict(type='WarmupCosineLR', warmup=10, eta_min=1e-6, convert_to_iter_based=True)
train_cfg = dict(type='ResumableTrainLoop', max_epochs=100)
