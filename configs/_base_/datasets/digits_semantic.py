"""Scenes of four handwritten digits with masks, rendered into data/digits on first use.

128 scenes to train on and 90 of other digit images to test on, gray as in pretraining.
"""

gray = dict(
    type='RandomGrayscale',
    prob=1.0,
    keep_channels=True,
    channel_weights=(0.114, 0.587, 0.299),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    gray,
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
test_pipeline = pipeline  # mmseg's inference_model looks for this name
# What mmseg's tools/test.py --tta averages over. A mirrored digit is another one.
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    gray,
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (48, 64, 80)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
dataset = dict(type='dino_mm.DigitMasks', data_root='data/digits', scene_size=64, pipeline=pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(split='train', indices=128, **dataset),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
