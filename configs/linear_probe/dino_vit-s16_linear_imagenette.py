"""Linear classification on a small folder of {train,val}/CLASS/*, frozen ViT-S/16, 1 GPU.

Command: python tools/train.py configs/linear_probe/dino_vit-s16_linear_imagenette.py
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
For other folders set `data_root` of both data sets, and `num_classes` of head and preprocessor.
Cost: 100 epochs of forward passes; tools/eval_linear.py needs one.
Measured: docs/model_zoo.md, by tools/eval_linear.py.
"""

_base_ = './dino_vit-s16_linear_in1k.py'

train = dict(_delete_=True, type='CustomDataset', data_root='data/imagenette', data_prefix='train')
val = dict(_delete_=True, type='CustomDataset', data_root='data/imagenette', data_prefix='val')
data_preprocessor = dict(num_classes=10)
model = dict(head=dict(num_classes=10))
train_dataloader = dict(dataset=dict(**train, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(**val, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
