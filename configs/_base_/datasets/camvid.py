"""CamVid: 367 images to train on, 11 classes by `metainfo`, void ignored."""

_base_ = './segmentation_loader.py'

void = dict(type='dino_mm.IgnoreLabels', ids=[11])
train_pipeline = [*_base_.train_pipeline[:2], void, *_base_.train_pipeline[2:]]
test_pipeline = [*_base_.test_pipeline[:3], void, *_base_.test_pipeline[3:]]
load, augment = _base_.tta_pipeline
tta_pipeline = [
    load,
    dict(type='TestTimeAug', transforms=[*augment.transforms[:3], [void], augment.transforms[3]]),
]
metainfo = dict(
    classes=[
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    ],
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)
dataset = dict(type='BaseSegDataset', data_root='data/camvid', img_suffix='.png', metainfo=metainfo)
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
        **dataset,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=test_pipeline,
        **dataset,
    )
)
test_dataloader = val_dataloader
