"""k-NN and a linear classifier on labeled images, while any recipe trains.

Name it after a recipe, and say where the labeled images are:

    _base_ = ['configs/dino_vit-s16_8xb64.py', 'configs/_base_/evaluation/labels.py']
    val_dataloader = dict(dataset=dict(data_root='FOLDER'))

FOLDER holds a folder for each class, or `train` and `val` of that kind. It may also be a text or
CSV file with a path and a label in each line. The checkpoint with the best k-NN accuracy is kept.
To stop early, add

    custom_hooks = [dict(type='EarlyStoppingHook', monitor='knn/k20_top1', patience=5)]
"""

val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='KNNDataset',
        data_root='data/labeled',
        size=224,  # that of the global crops of the recipe
        # An evaluation of so many images takes seconds.
        bank=dict(type='LabeledImages', part='bank', most=5000),
        queries=dict(type='LabeledImages', part='queries', most=2000),
    ),
)
val_evaluator = [dict(type='KNNMetric', ks=(20,)), dict(type='LinearMetric')]
val_cfg = dict(type='SpacedValLoop', evaluations=10)
