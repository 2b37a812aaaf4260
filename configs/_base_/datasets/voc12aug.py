"""Pascal VOC 2012 with the masks of SBD: 10,582 images to train on, 21 classes."""

_base_ = './segmentation_loader.py'

dataset = dict(type='PascalVOCDataset', data_root='data/VOCdevkit/VOC2012')
released = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
augmented = dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug')
lists = 'ImageSets/Segmentation'
train_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                data_prefix=released,
                ann_file=f'{lists}/train.txt',
                pipeline=_base_.train_pipeline,
                **dataset,
            ),
            dict(
                data_prefix=augmented,
                ann_file=f'{lists}/aug.txt',
                pipeline=_base_.train_pipeline,
                **dataset,
            ),
        ],
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=released,
        ann_file=f'{lists}/val.txt',
        pipeline=_base_.test_pipeline,
        **dataset,
    )
)
test_dataloader = val_dataloader
