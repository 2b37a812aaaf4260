"""DINO, ViT-B/16, 400 epochs of ImageNet-1k, 32 GPUs x 32 images.

Command: NNODES=4 NODE_RANK=... MASTER_ADDR=... tools/dist_train.sh configs/dino_vit-b16_32xb32-400e.py 8
Cost: not published.
Published: 76.1 k-NN, 78.2 linear (README of the reference); not reproduced here. Settings as quoted
from the released model's arguments; gradient clipping 0.3 is second-hand.
"""

_base_ = [
    './_base_/models/dino_vit-b16.py',
    './_base_/datasets/imagenet_released_crops.py',
    './_base_/schedules/dino_adamw_100e.py',
]

train_cfg = dict(max_epochs=400)
model = dict(loss=dict(warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=50))
optim_wrapper = dict(optimizer=dict(lr=7.5e-4), clip_grad=0.3)
param_scheduler = dict(eta_min=2e-6)
default_hooks = dict(freeze_last_layer=dict(epochs=3))
train_dataloader = dict(batch_size=32)
