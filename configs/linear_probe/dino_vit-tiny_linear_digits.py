"""Linear classification on the embedded digits, frozen network of the quickstart, CPU.

Command: python tools/train.py configs/linear_probe/dino_vit-tiny_linear_digits.py
Cost: minutes on 2 cores; tools/eval_linear.py takes less.
Measured: docs/model_zoo.md, by tools/eval_linear.py.
"""

_base_ = ['../_base_/models/linear_vit-s16.py', '../_base_/schedules/linear_sgd_100e.py']

model = dict(
    # As in configs/quickstart/dino_vit-tiny_digits.py.
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=96, num_layers=4, num_heads=3),
        img_size=32,
        patch_size=8,
        stem='conv',
        init_cfg=dict(checkpoint='work_dirs/dino_vit-tiny_digits/backbone.pth'),
    ),
    head=dict(num_classes=10, in_channels=4 * 96),
)
pipeline = [
    dict(type='dino_mm.LoadImage'),
    dict(type='torchvision/Grayscale', num_output_channels=3),
    dict(type='PackInputs'),
]
# What mmpretrain's tools/test.py --tta averages over. A mirrored digit is another one.
tta_pipeline = [
    *pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='torchvision/Resize', size=side) for side in (24, 32, 40)],
            [dict(type='PackInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='dino_mm.EmbeddedDigits', data_root='data/digits', split='train', pipeline=pipeline
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,  # mmpretrain's tools/train.py would set it
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='dino_mm.EmbeddedDigits',
        data_root='data/digits',
        split='val',
        scenes_per_digit=4,
        pipeline=pipeline,
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# Nothing is augmented: a higher rate than the published one.
optim_wrapper = dict(optimizer=dict(lr=0.1))
