"""DINO with the coding rate, a ViT of width 128, on thumbnails of ImageNette or of any folder.

Command: python tools/train.py configs/dino_vit-tiny_imagenette_1xb128.py
Another folder: python tools/pretrain.py FOLDER chooses a recipe for its images and the machine.
Cost and result: see docs/model_zoo.md.
"""

_base_ = [
    './_base_/models/dino_vit-tiny_conv.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_short.py',
]

model = dict(backbone=dict(img_size=48))
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
train_cfg = dict(max_epochs=60)
