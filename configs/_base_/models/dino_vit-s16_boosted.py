"""ViT-S/16 of the boosted recipe: temperature warmed up, prototypes' scale learned."""

_base_ = './dino_vit-s16.py'

model = dict(
    head=dict(norm_last_layer=False),
    loss=dict(warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=30),
)
