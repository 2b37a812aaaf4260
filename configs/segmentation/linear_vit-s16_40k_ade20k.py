"""Linear head on frozen patch tokens of a ViT-S/16, ADE20K.

Command: tools/dist_train.sh configs/segmentation/linear_vit-s16_40k_ade20k.py 8 --amp
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 40,000 iterations of 16 crops of 512 pixels; not measured here for want of a GPU.
Published: none for DINO in its paper or code.
"""

_base_ = [
    '../_base_/models/linear_seg_vit-s16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/seg_linear_40k.py',
]
