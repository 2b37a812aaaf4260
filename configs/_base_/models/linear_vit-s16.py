"""Linear classifier on the class tokens of the last four layers of a frozen ViT-S/16."""

model = dict(
    type='dino_mm.LinearProbe',
    backbone=dict(
        type='dino_mm.VisionTransformer',
        arch='small',
        patch_size=16,
        out_type='raw',
        out_indices=(-4, -3, -2, -1),
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_vits16'),
    ),
    neck=dict(type='dino_mm.LastLayers', avg_patches=False),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=4 * 384,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
