"""Published schedule of ViTDet on COCO: AdamW, 100 epochs, batch 64, two steps.

Source: arXiv 2203.16527, appendix A.2.
"""

_base_ = '../detection_runtime.py'

optim_wrapper = dict(
    constructor='dino_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.7),
)
auto_scale_lr = dict(enable=True, base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=250),
    dict(type='MultiStepLR', by_epoch=True, end=100, milestones=[89, 96], gamma=0.1),
]
train_cfg = dict(type='dino_mm.ResumableTrainLoop', max_epochs=100, val_interval=10)
