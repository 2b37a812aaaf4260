"""Loader of pretraining: shuffled, whole batches, pinned memory, workers that stay."""

train_dataloader = dict(
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
