"""Goes on from a given pretraining checkpoint on images of another domain.

Command: tools/dist_train.sh configs/dino_vit-s16_continue_8xb64.py 8 \\
    --cfg-options load_from=CHECKPOINT.pth train_dataloader.dataset.data_root=FOLDER
The checkpoint is one of a work dir, or a full file of the published code (with head and center) made
fit by tools/model_converters/published2dino.py. Student, teacher, head and center are taken over,
the schedules start anew. A random head on a trained backbone would destroy its features. Low learning rate, slow
teacher, no warm-up of the temperature, prototypes never frozen.
Cost and result depend on the images; none published. (To finish an interrupted run use --resume.)
"""

_base_ = [
    './_base_/models/dino_vit-s16.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/dino_adamw_100e.py',
]

load_from = 'work_dirs/dino_vit-s16_8xb64/epoch_100.pth'
train_cfg = dict(max_epochs=20)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = dict(warmup=1)
default_hooks = dict(
    weight_decay=dict(start=0.4),
    freeze_last_layer=dict(epochs=0),
    ema=dict(momentum=0.999),
)
