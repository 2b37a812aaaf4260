"""Mask R-CNN on a ViT of width 128, 128 images of COCO at 192 pixels: for a CPU.

Command: DINO_MM_DATA=/path/of/coco128/parent
    python tools/train.py configs/detection/mask-rcnn_vit-tiny_coco128.py --cfg-options
    model.backbone.init_cfg.checkpoint=work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth
Random backbone: --cfg-options model.backbone.init_cfg=None
Cost and result: docs/detection.md.
It is evaluated on the images it was trained on: what it measures is how well they are fitted.
"""

_base_ = './mask-rcnn_vit-s16_coco128.py'

image_size = (192, 192)
train_pipeline = [
    dict(step, **{_base_.size_of[step.type]: image_size}) if step.type in _base_.size_of else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, **{_base_.size_of[step.type]: image_size}) if step.type in _base_.size_of else step
    for step in _base_.test_pipeline
]
tta_pipeline = [*test_pipeline[:2], _base_.tta_pipeline[-1]]
strides = [2, 4, 8, 16]
model = dict(
    data_preprocessor=dict(pad_size_divisor=192),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        img_size=192,
        patch_size=8,
        stem='conv',
        weight_init='xavier',
        init_cfg=dict(checkpoint='work_dirs/dino_vit-tiny_imagenette_1xb128/backbone.pth'),
    ),
    neck=dict(in_channels=128, out_channels=64, num_outs=4),
    rpn_head=dict(
        in_channels=64, feat_channels=64, num_convs=1, anchor_generator=dict(strides=strides)
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, featmap_strides=strides),
        bbox_head=dict(
            type='Shared2FCBBoxHead', in_channels=64, fc_out_channels=256, norm_cfg=None
        ),
        mask_roi_extractor=dict(out_channels=64, featmap_strides=strides),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rpn=dict(sampler=dict(num=128)),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=100),
    dict(type='MultiStepLR', by_epoch=True, end=6, milestones=[4, 5], gamma=0.1),
]
train_cfg = dict(max_epochs=6, val_interval=6)
