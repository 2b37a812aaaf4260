"""DINO with the coding rate, a ViT of width 128 with patches of 8 pixels, on CIFAR-10.

Command: python tools/train.py configs/dino_vit-tiny_cifar10_1xb128.py
Cost: 50,000 images are 10 times those that were measured (docs/pretraining.md).
"""

_base_ = [
    './_base_/models/dino_vit-tiny_conv.py',
    './_base_/datasets/cifar10.py',
    './_base_/schedules/dino_short.py',
]

model = dict(backbone=dict(img_size=32))
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_size=32,
                global_scale=(0.4, 1.0),
                # Local crops of two by two patches would show too little.
                local_size=24,
                local_scale=(0.1, 0.4),
                num_local=2,
                blur_prob=(0.0, 0.0, 0.0),
            ),
        ]
    ),
)
train_cfg = dict(max_epochs=40, val_interval=4)
