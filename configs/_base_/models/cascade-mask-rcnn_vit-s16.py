"""Cascade Mask R-CNN on a simple feature pyramid of a ViT-S/16 (ViTDet, arXiv 2203.16527)."""

_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='dino_mm.LayerNorm2d', eps=1e-6)
model = dict(
    # The edge of the square that every image is padded to, as in training: the side of an image
    # is at most img_size, and positions are made for that.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='dino_mm.VisionTransformer',
        arch='small',
        img_size=1024,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='featmap',
        window_size=14,
        global_indices=(2, 5, 8, 11),
        rel_pos=True,
        # Not strict: no checkpoint of pretraining holds relative positions.
        init_cfg=dict(type='dino_mm.DINOCheckpoint', checkpoint='dino_vits16', strict=False),
    ),
    neck=dict(_delete_=True, type='dino_mm.SimpleFeaturePyramid', in_channels=384),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=[
            dict(head, type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
