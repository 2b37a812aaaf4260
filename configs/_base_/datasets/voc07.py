"""Images of Pascal VOC 2007, without labels (9,963 with the test part)."""

_base_ = './imagenet.py'

train_dataloader = dict(dataset=dict(data_root='data/VOCdevkit/VOC2007/JPEGImages'))
