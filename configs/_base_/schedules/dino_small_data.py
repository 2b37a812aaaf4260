"""For some thousand to a hundred thousand images: more epochs, a teacher that follows faster.

With fewer images than the published 1.28 million an epoch has few iterations. Combine it with
fewer prototypes (`model.head.out_dim`) and a lower temperature, see the configs that do.
"""

_base_ = './dino_adamw_100e.py'

train_cfg = dict(max_epochs=400, val_interval=20)
param_scheduler = dict(warmup=20)
default_hooks = dict(ema=dict(momentum=0.99), checkpoint=dict(interval=20))
