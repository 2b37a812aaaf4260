"""k-NN on ImageNet-1k, XCiT-S12/16; any folder of {train,val}/CLASS/* by `data_root`.

Command: python tools/test.py configs/knn/dino_xcit-s12-p16_knn_in1k.py CHECKPOINT
    --cfg-options test_dataloader.dataset.data_root=FOLDER
Cost: one pass over 1.33 million images.
Published: 76.0 top-1 with 20 neighbors (README of the reference); not reproduced here.
"""

_base_ = [
    '../_base_/models/dino_xcit-s12-p16.py',
    '../_base_/datasets/imagenet_knn.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _delete_=True,
    type='dino_mm.FeatureExtractor',
    backbone=_base_.model.backbone,
    neck=dict(type='dino_mm.ClassToken'),
)
