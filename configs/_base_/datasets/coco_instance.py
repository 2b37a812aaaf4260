"""COCO boxes and masks, 1024 pixels with large-scale jitter (arXiv 2012.07177)."""

_base_ = './coco_detection.py'

load_masks = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_pipeline = [
    load_masks if step.type == 'LoadAnnotations' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
