"""A tenth of the 40,000 iterations, for sets of some hundred images."""

_base_ = './seg_linear_40k.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=150),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=150, end=4000),
]
train_cfg = dict(max_iters=4000, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400))
