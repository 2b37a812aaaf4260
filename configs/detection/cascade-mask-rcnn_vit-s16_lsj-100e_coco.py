"""Cascade Mask R-CNN on a ViT-S/16, COCO boxes and masks.

Command: tools/dist_train.sh configs/detection/cascade-mask-rcnn_vit-s16_lsj-100e_coco.py 8 --amp
Cost: 100 epochs of 118,000 images of 1024 pixels, batch 64; not measured here for want of a GPU.
Published: nothing for this backbone; 54.0 box AP for ViT-B/16 with MAE weights.
"""

_base_ = [
    '../_base_/models/cascade-mask-rcnn_vit-s16.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/vitdet_100e.py',
]
