"""CIFAR-10 through torchvision: training images without labels, k-NN on the test images."""

eval_pipeline = [dict(type='LoadImage'), dict(type='mmpretrain.PackInputs')]
train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='TorchvisionDataset',
        dataset='CIFAR10',
        dataset_args=dict(root='data/cifar10', train=True, download=True),
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                global_size=32,
                local_size=16,
                local_scale=(0.15, 0.4),
                # A blur of two pixels leaves nothing of a 32-pixel image.
                blur_prob=(0.0, 0.0, 0.0),
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
            dataset='CIFAR10',
            dataset_args=dict(root='data/cifar10', train=True, download=True),
            pipeline=eval_pipeline,
        ),
        queries=dict(
            type='TorchvisionDataset',
            dataset='CIFAR10',
            dataset_args=dict(root='data/cifar10', train=False, download=True),
            pipeline=eval_pipeline,
        ),
    ),
)
val_evaluator = dict(type='KNNMetric', ks=(20, 200))
val_cfg = dict()
