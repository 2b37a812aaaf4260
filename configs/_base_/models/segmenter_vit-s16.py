"""Mask transformer of Segmenter (arXiv 2105.05633) on a ViT-S/16, trained whole."""

_base_ = './linear_seg_vit-s16.py'

model = dict(
    type='dino_mm.Segmentor',
    backbone=dict(drop_path_rate=0.1),
    decode_head=dict(
        _delete_=True,
        type='SegmenterMaskTransformerHead',
        in_channels=384,
        channels=384,
        embed_dims=384,
        num_heads=6,
        num_layers=2,
        num_classes=150,
        dropout_ratio=0.0,
    ),
)
