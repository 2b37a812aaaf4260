"""Boxes only: Cascade R-CNN on a simple feature pyramid of a ViT-S/16."""

_base_ = './cascade-mask-rcnn_vit-s16.py'

model = dict(roi_head=dict(mask_roi_extractor=None, mask_head=None))
