_base_ = './dino_vit-s16.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=50,
        out_indices=(3,),
        zero_init_residual=False,  # torchvision's initialization, as the published code has it
    ),
    neck=dict(_delete_=True, type='GlobalAveragePool'),
    head=dict(in_dim=2048),
)
sync_bn = 'torch'
