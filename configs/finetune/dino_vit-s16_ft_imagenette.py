"""Fine-tuning on a small folder of {train,val}/CLASS/*, ViT-S/16, 1 GPU x 64 images.

Command: python tools/train.py configs/finetune/dino_vit-s16_ft_imagenette.py
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
For other folders set `data_root` of both data sets, and `num_classes` of head and preprocessor.
Cost: not measured.
Published: none.
"""

_base_ = './dino_vit-s16_ft_in1k.py'

train = dict(_delete_=True, type='CustomDataset', data_root='data/imagenette', data_prefix='train')
val = dict(_delete_=True, type='CustomDataset', data_root='data/imagenette', data_prefix='val')
data_preprocessor = dict(num_classes=10)
model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=64, dataset=dict(**train, pipeline=_base_.train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(**val, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
