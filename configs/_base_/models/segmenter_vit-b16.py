"""Mask transformer of Segmenter on a ViT-B/16."""

_base_ = './segmenter_vit-s16.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dino_vitb16')),
    decode_head=dict(in_channels=768, channels=768, embed_dims=768, num_heads=12),
)
