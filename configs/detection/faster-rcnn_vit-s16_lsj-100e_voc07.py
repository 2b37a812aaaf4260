"""Faster R-CNN on a ViT-S/16, Pascal VOC 2007 boxes.

Command: python tools/train.py configs/detection/faster-rcnn_vit-s16_lsj-100e_voc07.py --amp
Cost: 100 epochs of 5,011 images of 640 pixels, batch 8; not measured here for want of a GPU.
"""

_base_ = [
    '../_base_/models/faster-rcnn_vit-s16.py',
    '../_base_/datasets/voc07_detection.py',
    '../_base_/schedules/vitdet_100e.py',
]

model = dict(
    data_preprocessor=dict(pad_size_divisor=640),
    backbone=dict(img_size=640),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
