_base_ = './dino_vit-s16_boosted.py'

model = dict(backbone=dict(patch_size=8))
