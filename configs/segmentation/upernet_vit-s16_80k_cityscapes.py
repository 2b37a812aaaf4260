"""UPerNet on a ViT-S/16, Cityscapes.

Command: tools/dist_train.sh configs/segmentation/upernet_vit-s16_80k_cityscapes.py 8 --amp
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: 80,000 iterations of 16 crops of 512 pixels; not measured here for want of a GPU.
Published: none for DINO in its paper or code.
"""

_base_ = [
    '../_base_/models/upernet_vit-s16.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/seg_80k.py',
]

num_classes = 19
model = dict(
    decode_head=dict(num_classes=num_classes), auxiliary_head=dict(num_classes=num_classes)
)
