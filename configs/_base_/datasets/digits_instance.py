"""Scenes of four handwritten digits with boxes and masks, rendered into data/digits on first use.

359 scenes to train on and 90 of other digit images to test on, gray as in pretraining.
"""

data_root = 'data/digits'
scene_size = 64
gray = dict(
    type='RandomGrayscale', prob=1.0, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    gray,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    gray,
    dict(type='Resize', scale=(scene_size, scene_size), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        # The metric takes the truth from the samples.
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
tta_pipeline = [
    *test_pipeline[:3],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
            [
                dict(
                    type='PackDetInputs',
                    # Without 'flip', by which mmdet's cascade would turn round masks itself.
                    meta_keys=(*test_pipeline[-1]['meta_keys'], 'flip_direction'),
                )
            ],
        ],
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='dino_mm.DigitInstances',
        data_root=data_root,
        split='train',
        scene_size=scene_size,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='dino_mm.DigitInstances',
        data_root=data_root,
        split='val',
        scene_size=scene_size,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
