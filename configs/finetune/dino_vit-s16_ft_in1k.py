"""Fine-tuning on ImageNet-1k, ViT-S/16, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/finetune/dino_vit-s16_ft_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: not measured.
Published: 81.5 top-1 (paper, table 6) by DeiT's recipe; not reproduced here. Batch, learning rate
and augmentation are those; layer-wise decay and 100 epochs instead of 300 are not.
"""

_base_ = [
    '../_base_/models/finetune_vit-s16.py',
    '../_base_/datasets/imagenet_finetune.py',
    '../_base_/schedules/finetune_adamw_100e.py',
]
