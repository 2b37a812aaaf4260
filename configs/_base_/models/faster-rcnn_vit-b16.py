"""Boxes only: Faster R-CNN on a simple feature pyramid of a ViT-B/16."""

_base_ = './mask-rcnn_vit-b16.py'

model = dict(type='FasterRCNN', roi_head=dict(mask_roi_extractor=None, mask_head=None))
