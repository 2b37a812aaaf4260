"""UPerNet on a ViT-B/16, ADE20K.

Command: tools/dist_train.sh configs/segmentation/upernet_vit-b16_160k_ade20k.py 8 --amp
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 160,000 iterations of 16 crops of 512 pixels; not measured here for want of a GPU.
Published: none for DINO in its paper or code.
"""

_base_ = [
    '../_base_/models/upernet_vit-b16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/seg_160k.py',
]
