"""A ViT of width 128 with a convolutional stem: for small images, or a machine without a GPU."""

_base_ = './dino_vit-s16.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        patch_size=8,
        stem='conv',  # learns edges and colors from few images
        drop_path_rate=0.0,
        weight_init='xavier',  # the published one is made for widths of 384 and more
    ),
    head=dict(in_dim=128, out_dim=1024, hidden_dim=512, bottleneck_dim=64),
    loss=dict(warmup_teacher_temp=0.03, teacher_temp=0.03),
    # Without it the outputs for few images stay alike.
    objectives=dict(coding_rate=dict(type='CodingRateLoss', eps=0.05, weight=1.0)),
)
