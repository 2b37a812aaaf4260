"""DINO, ViT-S/16, on tar or Parquet shards of millions of images, 8 GPUs x 64 images.

Lengths are iterations, since a stream of images has no epochs: as many as 100 epochs of ImageNet-1k.

Command: tools/dist_train.sh configs/dino_vit-s16_shards_8xb64.py 8 \
    --cfg-options train_dataloader.dataset.data_root=FOLDER
Cost: 1.75 days on 8 V100 (published, for the vanilla recipe).
Published: nothing; the vanilla recipe on other data.
"""

_base_ = [
    './_base_/models/dino_vit-s16.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_adamw_100e.py',
]

train_dataloader = dict(
    sampler=None,  # a stream has an order of its own
    dataset=dict(
        _delete_=True,
        type='ShardedImages',
        data_root='data/shards',
        buffer_size=1000,
        open_shards=4,
        pipeline={{_base_.train_dataloader.dataset.pipeline}},
    ),
)
train_cfg = dict(
    _delete_=True,
    type='StreamTrainLoop',
    max_iters=250_000,
    epoch_length=2500,  # iterations that count as one epoch, for whatever is given in epochs
)
param_scheduler = dict(warmup='25000 iterations')
default_hooks = dict(
    freeze_last_layer=dict(epochs='2500 iterations'),
    checkpoint=dict(by_epoch=False, interval=2500),
)
log_processor = dict(by_epoch=False)
