"""UPerNet on four layers of a ViT-S/16, as BEiT and MAE have it (arXiv 2106.08254, 2111.06377)."""

_base_ = './linear_seg_vit-s16.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='dino_mm.Segmentor',
    backbone=dict(drop_path_rate=0.1, out_indices=(3, 5, 7, 11)),
    neck=dict(type='Feature2Pyramid', embed_dim=384, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        channels=384,
        num_classes=150,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        num_classes=150,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
    ),
)
