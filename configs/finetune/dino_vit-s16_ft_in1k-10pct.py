"""Fine-tuning on 10 % of ImageNet-1k's labels, ViT-S/16, 8 GPUs x 128 images.

List the images first, SimCLR's published ones or drawn ones:
    python tools/dataset_converters/label_subset.py data/imagenet/train
        data/imagenet/meta/train_10percent.txt --names 10percent.txt (or --fraction 0.1)
Command: tools/dist_train.sh configs/finetune/dino_vit-s16_ft_in1k-10pct.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=FILE
Cost: not measured.
Published: none for fine-tuning; 72.2 top-1 for logistic regression on frozen features (paper,
table 12), see tools/eval_linear.py --fractions 0.1.
"""

_base_ = './dino_vit-s16_ft_in1k.py'

train_dataloader = dict(dataset=dict(ann_file='meta/train_10percent.txt'))
# Fewer images: more epochs.
train_cfg = dict(max_epochs=200, val_interval=10)
warmup, cosine = _base_.param_scheduler
cosine.update(end=200)
param_scheduler = [warmup, cosine]
