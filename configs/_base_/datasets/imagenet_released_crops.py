"""ImageNet-1k with the crops of the released ViT/16 weights: smaller, and ten local ones."""

_base_ = './imagenet.py'

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage', as_tensor=True),
            dict(
                type='DINOMultiCrop',
                backend='auto',
                global_scale=(0.25, 1.0),
                local_scale=(0.05, 0.25),
                num_local=10,
            ),
        ]
    )
)
