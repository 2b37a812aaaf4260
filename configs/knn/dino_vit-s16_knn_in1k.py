"""k-NN on ImageNet-1k, ViT-S/16; any folder of {train,val}/CLASS/* by `data_root`.

Command: python tools/test.py configs/knn/dino_vit-s16_knn_in1k.py CHECKPOINT
    --cfg-options test_dataloader.dataset.data_root=FOLDER
Cost: one pass over 1.33 million images.
Published: 74.5 top-1 with 20 neighbors (README of the reference); not reproduced here.
"""

_base_ = ['../_base_/datasets/imagenet_knn.py', '../_base_/default_runtime.py']

model = dict(
    type='dino_mm.FeatureExtractor',
    backbone=dict(type='dino_mm.VisionTransformer', arch='small', patch_size=16),
    neck=dict(type='dino_mm.ClassToken'),
)
