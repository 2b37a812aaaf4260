"""Faster R-CNN on a ViT-S/16, BDD100K boxes.

Command: tools/dist_train.sh configs/detection/faster-rcnn_vit-s16_lsj-25e_bdd100k.py 8 --amp
Cost: 25 epochs of 70,000 images of 1024 pixels, batch 64; not measured here for want of a GPU.
"""

_base_ = [
    '../_base_/models/faster-rcnn_vit-s16.py',
    '../_base_/datasets/bdd100k_detection.py',
    '../_base_/schedules/vitdet_25e.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
