"""Linear classification of the frozen patch tokens of a ViT-S/16, crops of 512 pixels."""

model = dict(
    type='dino_mm.LinearSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        seg_pad_val=255,
        size=(512, 512),
        test_cfg=dict(size_divisor=16),  # the patch size
    ),
    backbone=dict(
        type='dino_mm.VisionTransformer',
        arch='small',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_vits16'),
    ),
    decode_head=dict(
        type='dino_mm.LinearHead',
        in_channels=384,
        num_classes=150,
        norm_cfg=dict(type='SyncBN'),
    ),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
