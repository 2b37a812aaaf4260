"""Mask R-CNN on a ViT-S/16, COCO boxes and masks, on a single GPU.

Activations are computed again in the backward pass, the published batch of 64 is accumulated.

Command: python tools/train.py configs/detection/mask-rcnn_vit-s16_1xb2-25e_coco.py --amp
Cost: 25 epochs of 118,000 images of 1024 pixels; not measured here for want of a GPU.
"""

_base_ = [
    '../_base_/models/mask-rcnn_vit-s16.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/vitdet_25e.py',
]

model = dict(backbone=dict(activation_checkpointing=True))
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(accumulative_counts=32)
param_scheduler = [  # a warm-up of 250 steps
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=250 * 32),
    dict(type='MultiStepLR', by_epoch=True, end=25, milestones=[22, 24], gamma=0.1),
]
# The learning rate is that of the accumulated batch.
auto_scale_lr = dict(enable=False)
