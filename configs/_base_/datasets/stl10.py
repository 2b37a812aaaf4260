"""STL-10 through torchvision: 100,000 unlabeled images, k-NN on the labeled ones."""

_base_ = ['./pretrain_loader.py', './knn_loader.py']

train_set = dict(
    type='TorchvisionDataset',
    dataset='STL10',
    dataset_args=dict(root='data/stl10', split='train', download=True),
)
test_set = dict(
    type='TorchvisionDataset',
    dataset='STL10',
    dataset_args=dict(root='data/stl10', split='test', download=True),
)
eval_pipeline = [dict(type='LoadImage'), dict(type='mmpretrain.PackInputs')]
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(
        type='TorchvisionDataset',
        dataset='STL10',
        dataset_args=dict(root='data/stl10', split='unlabeled', download=True),
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_size=96,
                local_size=48,
                local_scale=(0.1, 0.4),
                blur_radius=(0.1, 1.0),
            ),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        bank=dict(**train_set, pipeline=eval_pipeline),
        queries=dict(**test_set, pipeline=eval_pipeline),
    )
)
