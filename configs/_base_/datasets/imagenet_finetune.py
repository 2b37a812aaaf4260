"""Labeled ImageNet-1k, augmented as DeiT does; mixup and cutmix are the model's `train_cfg`."""

_base_ = './imagenet_linear.py'

mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
train_pipeline = [
    dict(type='dino_mm.LoadImage'),
    dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic'),
    dict(type='torchvision/RandomHorizontalFlip'),
    dict(type='PILToNumpy'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(value) for value in mean], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
        fill_std=std,
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
