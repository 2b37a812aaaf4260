"""k-NN accuracy of small labeled images during pretraining."""

val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='KNNDataset'),
)
val_evaluator = dict(type='KNNMetric', ks=(20, 200))
val_cfg = dict()
