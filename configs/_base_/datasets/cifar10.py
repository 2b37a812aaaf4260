"""CIFAR-10 through torchvision: training images without labels, k-NN on the test images."""

_base_ = ['./pretrain_loader.py', './knn_loader.py']

train_set = dict(
    type='TorchvisionDataset',
    dataset='CIFAR10',
    dataset_args=dict(root='data/cifar10', train=True, download=True),
)
test_set = dict(
    type='TorchvisionDataset',
    dataset='CIFAR10',
    dataset_args=dict(root='data/cifar10', train=False, download=True),
)
eval_pipeline = [dict(type='LoadImage'), dict(type='mmpretrain.PackInputs')]
train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    dataset=dict(
        **train_set,
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='DINOMultiCrop',
                backend='auto',
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
    dataset=dict(
        bank=dict(**train_set, pipeline=eval_pipeline),
        queries=dict(**test_set, pipeline=eval_pipeline),
    )
)
