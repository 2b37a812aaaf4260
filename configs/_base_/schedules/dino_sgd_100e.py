"""Published schedule of convolutional networks: SGD, flat weight decay."""

_base_ = './dino_adamw_100e.py'

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.03, momentum=0.9, fused=True))
default_hooks = dict(weight_decay=dict(start=1e-4, end=1e-4))
