"""ADE20K: 20,210 images to train on, 150 classes; id 0, all other things, is ignored."""

_base_ = './segmentation_loader.py'

dataset = dict(type='ADE20KDataset', data_root='data/ade/ADEChallengeData2016')
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=_base_.train_pipeline,
        **dataset,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=_base_.test_pipeline,
        **dataset,
    )
)
test_dataloader = val_dataloader
