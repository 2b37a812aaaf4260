"""Classifier on the class token of a ViT-S/16, with the regularization of DeiT."""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='dino_mm.VisionTransformer',
        arch='small',
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_vits16'),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
