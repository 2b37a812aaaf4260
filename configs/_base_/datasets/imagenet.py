"""ImageNet-1k for pretraining, without labels.

Folders: set `data_root` to the `train` folder. List file: set `ann_file` to a text file with one
path per line, relative to `data_root` (what follows the path, such as a label, is not read).
"""

_base_ = './pretrain_loader.py'

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadImage', as_tensor=True),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_size=224,
                global_scale=(0.4, 1.0),
                local_size=96,
                local_scale=(0.05, 0.4),
                num_local=8,
            ),
        ],
    ),
)
