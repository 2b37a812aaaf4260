"""ViT-S/16 for up to some hundred thousand images: fewer prototypes, and the coding rate.

Without the coding rate the outputs for few images stay alike (see docs/pretraining.md).
"""

_base_ = './dino_vit-s16.py'

model = dict(
    head=dict(out_dim=4096),
    loss=dict(warmup_teacher_temp=0.02, teacher_temp=0.04, warmup_teacher_temp_epochs=60),
    objectives=dict(coding_rate=dict(type='CodingRateLoss', eps=0.05, weight=1.0)),
)
