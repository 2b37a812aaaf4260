"""Segmenter's mask transformer on a ViT-B/16, CamVid.

Command: tools/dist_train.sh configs/segmentation/segmenter_vit-b16_20k_camvid.py 8 --amp
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 20,000 iterations of 16 crops of 512 pixels; not measured here for want of a GPU.
Published: none for DINO in its paper or code.
"""

_base_ = [
    '../_base_/models/segmenter_vit-b16.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/seg_20k.py',
]

model = dict(decode_head=dict(num_classes=11))
