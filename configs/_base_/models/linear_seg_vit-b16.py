"""Linear classification of the frozen patch tokens of a ViT-B/16."""

_base_ = './linear_seg_vit-s16.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dino_vitb16')),
    decode_head=dict(in_channels=768),
)
