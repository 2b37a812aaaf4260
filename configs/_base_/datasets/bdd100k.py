"""Images of BDD100K, without labels (70,000)."""

_base_ = './imagenet.py'

train_dataloader = dict(dataset=dict(data_root='data/bdd100k/images/100k/train'))
