"""ImageNet-1k, or any folder with {train,val}/CLASS/*, as bank and queries of k-NN.

Set `test_dataloader.dataset.data_root`. Classes are the names of folders.
"""

# The published evaluation transform; the model normalizes.
eval_pipeline = [
    dict(type='dino_mm.LoadImage'),
    dict(type='mmpretrain.torchvision/Resize', size=256, interpolation='bicubic'),
    dict(type='mmpretrain.torchvision/CenterCrop', size=224),
    dict(type='mmpretrain.PackInputs'),
]
test_dataloader = dict(
    batch_size=64,
    num_workers=10,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='KNNDataset',
        data_root='data/imagenet',
        pipeline=eval_pipeline,
        bank=dict(type='mmpretrain.CustomDataset', data_prefix='train'),
        queries=dict(type='mmpretrain.CustomDataset', data_prefix='val'),
    ),
)
test_evaluator = dict(type='KNNMetric', ks=(10, 20, 100, 200), temperature=0.07)
test_cfg = dict(type='KNNTestLoop')
