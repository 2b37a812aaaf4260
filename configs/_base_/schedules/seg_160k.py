"""160,000 iterations of 16 crops: AdamW, layer-wise decay, linear warm-up and decline.

Published for UPerNet on ADE20K with MAE's ViT-B (arXiv 2111.06377), as mmseg has it.
"""

_base_ = '../segmentation_runtime.py'

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='dino_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
auto_scale_lr = dict(enable=True, base_batch_size=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
