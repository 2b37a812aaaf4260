"""Published schedule of linear classification: SGD, 100 epochs, cosine by epoch, no decay."""

_base_ = '../classification_runtime.py'

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0))
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = dict(type='CosineAnnealingLR', T_max=100, eta_min=0.0, by_epoch=True)
train_cfg = dict(type='dino_mm.ResumableTrainLoop', max_epochs=100, val_interval=1)
