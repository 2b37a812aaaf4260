"""STL-10 through torchvision: 100,000 unlabelled images, k-NN on the labelled ones."""

eval_pipeline = [dict(type='LoadImage'), dict(type='mmpretrain.PackInputs')]
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='TorchvisionDataset',
        dataset='STL10',
        dataset_args=dict(root='data/stl10', split='unlabeled', download=True),
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                global_size=96,
                local_size=48,
                local_scale=(0.1, 0.4),
                blur_radius=(0.1, 1.0),
            ),
        ],
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='KNNDataset',
        bank=dict(
            type='TorchvisionDataset',
            dataset='STL10',
            dataset_args=dict(root='data/stl10', split='train', download=True),
            pipeline=eval_pipeline,
        ),
        queries=dict(
            type='TorchvisionDataset',
            dataset='STL10',
            dataset_args=dict(root='data/stl10', split='test', download=True),
            pipeline=eval_pipeline,
        ),
    ),
)
val_evaluator = dict(type='KNNMetric', ks=(20, 200))
val_cfg = dict()
