"""ImageNet-1k for pretraining, without labels.

Folders: set `data_root` to the `train` folder. List file: set `ann_file` to a text file with one
path per line, relative to `data_root` (what follows the path, such as a label, is not read).
"""

train_dataloader = dict(
    batch_size=64,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                global_size=224,
                global_scale=(0.4, 1.0),
                local_size=96,
                local_scale=(0.05, 0.4),
                num_local=8,
            ),
        ],
    ),
)
