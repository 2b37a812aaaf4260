"""Cityscapes: 2,975 images to train on, 19 classes, crops of 0.5 to 2 times the full size."""

_base_ = './segmentation_loader.py'

full_size = (2048, 1024)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomResize', scale=full_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    *_base_.train_pipeline[3:],
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=full_size, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
load, augment = _base_.tta_pipeline
sizes = [
    dict(type='Resize', scale=(int(2048 * ratio), int(1024 * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [load, dict(type='TestTimeAug', transforms=[sizes, *augment.transforms[1:]])]
dataset = dict(type='CityscapesDataset', data_root='data/cityscapes')
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
        **dataset,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
        **dataset,
    )
)
test_dataloader = val_dataloader
