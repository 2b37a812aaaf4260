model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch='small', patch_size=16, drop_path_rate=0.1),
    neck=dict(type='ClassToken'),
    head=dict(type='DINOHead', in_dim=384, out_dim=65536, norm_last_layer=True),
    loss=dict(
        type='DINOLoss',
        student_temp=0.1,
        warmup_teacher_temp=0.04,
        teacher_temp=0.04,
        warmup_teacher_temp_epochs=0,
    ),
)
