"""DINO, ResNet-50, 100 epochs of ImageNet-1k, 8 GPUs x 64 images.

Command: tools/dist_train.sh configs/dino_resnet50_8xb64.py 8
Cost: not published.
Published for 800 epochs: 67.5 k-NN, 75.3 linear (README of the reference); not reproduced here.
"""

_base_ = [
    './_base_/models/dino_resnet50.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_sgd_100e.py',
]

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage', as_tensor=True),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_scale=(0.14, 1.0),
                local_scale=(0.05, 0.14),
            ),
        ]
    )
)
