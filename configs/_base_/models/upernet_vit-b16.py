"""UPerNet on four layers of a ViT-B/16."""

_base_ = './upernet_vit-s16.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dino_vitb16')),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=768),
    auxiliary_head=dict(in_channels=768),
)
