"""For some thousand steps: a high rate, and a short average for the teacher."""

_base_ = './dino_adamw_100e.py'

optim_wrapper = dict(optimizer=dict(lr=4e-3))  # for 256 images
param_scheduler = dict(warmup='5%', eta_min=2e-5)
default_hooks = dict(
    weight_decay=dict(end=0.04),
    freeze_last_layer=dict(epochs=0),
    ema=dict(momentum=0.98),
)
