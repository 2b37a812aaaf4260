"""Pascal VOC 2007 boxes in COCO's format (docs/datasets.md), 640 pixels, large-scale jitter."""

_base_ = './coco_detection.py'

data_root = 'data/VOCdevkit/'
image_size = (640, 640)
# Which argument of a step is the size.
size_of = dict(RandomResize='scale', RandomCrop='crop_size', Resize='scale')

metainfo = dict(
    classes=(
        'aeroplane',
        'bicycle',
        'bird',
        'boat',
        'bottle',
        'bus',
        'car',
        'cat',
        'chair',
        'cow',
        'diningtable',
        'dog',
        'horse',
        'motorbike',
        'person',
        'pottedplant',
        'sheep',
        'sofa',
        'train',
        'tvmonitor',
    )
)
train_pipeline = [
    dict(step, **{size_of[step.type]: image_size}) if step.type in size_of else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, **{size_of[step.type]: image_size}) if step.type in size_of else step
    for step in _base_.test_pipeline
]
tta_pipeline = [*test_pipeline[:2], _base_.tta_pipeline[-1]]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='voc07_trainval.json',
        data_prefix=dict(img=''),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='voc07_test.json',
        data_prefix=dict(img=''),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'voc07_test.json')
test_evaluator = val_evaluator
