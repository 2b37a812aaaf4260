"""Faster R-CNN on a ViT-S/16, COCO boxes.

Command: tools/dist_train.sh configs/detection/faster-rcnn_vit-s16_lsj-100e_coco.py 8 --amp
Cost: 100 epochs of 118,000 images of 1024 pixels, batch 64; not measured here for want of a GPU.
"""

_base_ = [
    '../_base_/models/faster-rcnn_vit-s16.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/vitdet_100e.py',
]
