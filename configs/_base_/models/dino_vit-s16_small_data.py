"""ViT-S/16 for small sets of images: fewer prototypes, lower temperature against uniform output."""

_base_ = './dino_vit-s16.py'

model = dict(
    head=dict(out_dim=4096),
    loss=dict(warmup_teacher_temp=0.02, teacher_temp=0.04, warmup_teacher_temp_epochs=60),
)
