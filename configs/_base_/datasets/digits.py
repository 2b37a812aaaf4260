"""Scenes of scikit-learn's handwritten digits, rendered into data/digits on first use."""

_base_ = './pretrain_loader.py'

data_root = 'data/digits'
scene_size = 32

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(
        type='EmbeddedDigits',
        data_root=data_root,
        split='train',
        scene_size=scene_size,
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_size=32,
                global_scale=(0.5, 1.0),
                local_size=24,
                local_scale=(0.25, 0.6),
                num_local=2,
                # A mirrored digit is another one, a blurred one of 32 pixels none, and color
                # would tell scenes apart more easily than shape.
                flip_prob=0.0,
                blur_prob=(0.0, 0.0, 0.0),
                solarize_prob=(0.0, 0.0, 0.0),
                saturation=0.0,
                hue=0.0,
                gray_prob=1.0,
            ),
        ],
    ),
)
eval_pipeline = [
    dict(type='dino_mm.LoadImage'),
    dict(type='mmpretrain.torchvision/Grayscale', num_output_channels=3),
    dict(type='mmpretrain.PackInputs'),
]
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='KNNDataset',
        pipeline=eval_pipeline,
        bank=dict(
            type='EmbeddedDigits',
            data_root=data_root,
            split='train',
            scene_size=scene_size,
        ),
        queries=dict(
            type='EmbeddedDigits',
            data_root=data_root,
            split='val',
            scene_size=scene_size,
            scenes_per_digit=4,
        ),
    ),
)
val_evaluator = dict(type='KNNMetric', ks=(20,))
val_cfg = dict()
