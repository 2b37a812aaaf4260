"""Mask R-CNN on a ViT-S/16, 128 images of COCO: a trial of a folder in COCO's format on a CPU.

Command: DINO_MM_DATA=/path/of/coco128/parent
    python tools/train.py configs/detection/mask-rcnn_vit-s16_coco128.py
Cost and result: not measured.
It is evaluated on the images it was trained on: what it measures is how well they are fitted.
"""

_base_ = [
    '../_base_/models/mask-rcnn_vit-s16.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/vitdet_25e.py',
]

data_root = '{{$DINO_MM_DATA:data}}/coco128/'
image_size = (320, 320)
# Which argument of a step is the size.
size_of = dict(RandomResize='scale', RandomCrop='crop_size', Resize='scale')

model = dict(
    data_preprocessor=dict(pad_size_divisor=320),
    # A grid of 20 x 20 needs no windows.
    backbone=dict(
        img_size=320,
        window_size=0,
        global_indices=(),
        rel_pos=False,
        drop_path_rate=0.0,
        init_cfg=dict(strict=True),
    ),
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
    batch_size=4,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_train2017.json')
test_evaluator = val_evaluator
auto_scale_lr = dict(enable=False)
default_hooks = dict(logger=dict(interval=8))
