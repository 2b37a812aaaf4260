"""Linear classifier on class token and pooled patches of the last layer of a frozen ViT-B/16."""

_base_ = './linear_vit-s16.py'

model = dict(
    backbone=dict(arch='base', out_indices=(-1,), init_cfg=dict(checkpoint='dino_vitb16')),
    neck=dict(avg_patches=True),
    head=dict(in_channels=2 * 768),
)
