"""Fine-tuning on ImageNet-1k, ViT-B/16, 8 GPUs x 128 images.

Command: tools/dist_train.sh configs/finetune/dino_vit-b16_ft_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: not measured.
Published: 82.8 top-1 (paper, table 6) by DeiT's recipe; not reproduced here. Batch, learning rate
and augmentation are those; layer-wise decay and 100 epochs instead of 300 are not.
"""

_base_ = './dino_vit-s16_ft_in1k.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dino_vitb16')),
    head=dict(in_channels=768),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.65))
