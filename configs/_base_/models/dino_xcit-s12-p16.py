_base_ = './dino_vit-s16_boosted.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.XCiT',
        patch_size=16,
        embed_dims=384,
        depth=12,
        num_heads=8,
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.1,
        layer_scale_init_value=1.0,
        tokens_norm=True,
        # mmpretrain would draw linear weights with standard deviation 1.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    ),
)
# The convolutional stem holds batch norms.
sync_bn = 'torch'
