"""Fine-tuning on 1 % of ImageNet-1k's labels, ViT-S/16, 8 GPUs x 128 images.

List the images first, SimCLR's published ones or drawn ones:
    python tools/dataset_converters/label_subset.py data/imagenet/train
        data/imagenet/meta/train_1percent.txt --names 1percent.txt (or --fraction 0.01)
Command: tools/dist_train.sh configs/finetune/dino_vit-s16_ft_in1k-1pct.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: not measured.
Published: none for fine-tuning; 64.5 top-1 for logistic regression on frozen features (paper,
table 12), see tools/eval_linear.py --fractions 0.01.
"""

_base_ = './dino_vit-s16_ft_in1k.py'

train_dataloader = dict(dataset=dict(ann_file='meta/train_1percent.txt'))
# Fewer images: more epochs.
train_cfg = dict(max_epochs=400, val_interval=10)
warmup, cosine = _base_.param_scheduler
cosine.update(end=400)
param_scheduler = [warmup, cosine]
