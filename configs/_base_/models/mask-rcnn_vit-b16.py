"""Mask R-CNN on a simple feature pyramid of a ViT-B/16 (ViTDet, arXiv 2203.16527)."""

_base_ = './mask-rcnn_vit-s16.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dino_vitb16')),
    neck=dict(in_channels=768),
)
