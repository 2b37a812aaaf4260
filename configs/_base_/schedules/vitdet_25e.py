"""A quarter of ViTDet's schedule."""

_base_ = './vitdet_100e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=250),
    dict(type='MultiStepLR', by_epoch=True, end=25, milestones=[22, 24], gamma=0.1),
]
train_cfg = dict(max_epochs=25, val_interval=5)
