"""DINO, a ViT of width 128, on thumbnails of ImageNette or of any folder: a small machine.

Command: python tools/train.py configs/dino_vit-tiny_imagenette_1xb128.py
Another folder: --cfg-options train_dataloader.dataset.data_root=FOLDER
Cost and result: see docs/model_zoo.md.
"""

_base_ = [
    './_base_/models/dino_vit-s16_small_data.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_small_data.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        img_size=48,
        patch_size=8,
        drop_path_rate=0.0,
        weight_init='xavier',  # the published one is made for widths of 384 and more
    ),
    head=dict(in_dim=128, out_dim=1024, hidden_dim=512, bottleneck_dim=64),
    loss=dict(warmup_teacher_temp=0.02, teacher_temp=0.03, warmup_teacher_temp_epochs=30),
)
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    dataset=dict(
        data_root='data/imagenette/train',
        pipeline=[
            dict(type='LoadImage', as_tensor=True),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_size=48,
                global_scale=(0.4, 1.0),
                local_size=24,
                local_scale=(0.1, 0.4),
                num_local=4,
                # A blur of two pixels leaves little of a thumbnail.
                blur_prob=(0.0, 0.0, 0.0),
            ),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(warmup=5)
train_cfg = dict(max_epochs=60)
