_base_ = './dino_vit-s16.py'

model = dict(backbone=dict(arch='base'), head=dict(in_dim=768))
