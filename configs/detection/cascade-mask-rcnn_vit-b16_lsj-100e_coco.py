"""Cascade Mask R-CNN on a ViT-B/16, COCO boxes and masks.

Command: tools/dist_train.sh configs/detection/cascade-mask-rcnn_vit-b16_lsj-100e_coco.py 8 --amp
Cost: 100 epochs of 118,000 images of 1024 pixels, batch 64; not measured here for want of a GPU.
Published: 54.0 box AP, 46.7 mask AP with MAE weights
    (detectron2's projects/ViTDet).
"""

_base_ = [
    '../_base_/models/cascade-mask-rcnn_vit-b16.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/vitdet_100e.py',
]
