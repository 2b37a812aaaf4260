"""k-NN on the embedded digits, with the network of the quickstart.

Command: python tools/test.py configs/knn/dino_vit-tiny_knn_digits.py
    work_dirs/dino_vit-tiny_digits/backbone.pth
Cost: seconds.
Measured: docs/model_zoo.md.
"""

_base_ = ['../_base_/datasets/digits.py', '../_base_/default_runtime.py']

model = dict(
    type='dino_mm.FeatureExtractor',
    # As in configs/quickstart/dino_vit-tiny_digits.py.
    backbone=dict(
        type='dino_mm.VisionTransformer',
        arch=dict(embed_dims=96, num_layers=4, num_heads=3),
        img_size=32,
        patch_size=8,
        stem='conv',
        weight_init='xavier',
    ),
    neck=dict(type='dino_mm.ClassToken'),
)
train_dataloader = None
test_dataloader = _base_.val_dataloader
test_evaluator = dict(type='KNNMetric', ks=(10, 20, 100, 200))
test_cfg = dict(type='KNNTestLoop')
val_dataloader = val_evaluator = val_cfg = None
