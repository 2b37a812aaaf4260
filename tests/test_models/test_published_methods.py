"""What code written for published DINO models calls, masked patches, frozen stages."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from dino_mm.models import VisionTransformer

TOY = dict(arch=dict(embed_dims=24, num_layers=3, num_heads=3), img_size=32, patch_size=8)


@pytest.fixture(scope='module')
def image() -> Tensor:
    return torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**TOY, num_registers=2, use_mask_token=True, out_type='raw').eval()
    nn.init.normal_(model.mask_token)
    return model


def test_names_of_sizes(vit) -> None:
    assert (vit.embed_dim, vit.num_features, vit.n_blocks) == (24, 24, 3)


def test_last_self_attention(vit, image) -> None:
    found = vit.get_last_selfattention(image)
    assert found.shape == (2, 3, 18, 18) and found.equal(vit.get_attention(image, 2))


@pytest.mark.parametrize('n, wanted', [(2, [1, 2]), ([0, 2], [0, 2]), ((-1, 0), [0, 2])])
@pytest.mark.parametrize('norm', [True, False])
def test_intermediate_layers(vit, image, n, wanted, norm) -> None:
    x, expected = vit.prepare_tokens(image), []
    for i, block in enumerate(vit.blocks):
        x = block(x)
        if i in wanted:
            expected.append(vit.norm(x) if norm else x)
    plain = vit.get_intermediate_layers(image, n, norm=norm)
    pairs = vit.get_intermediate_layers(image, n, return_class_token=True, norm=norm)
    maps = vit.get_intermediate_layers(image, n, reshape=True, norm=norm)
    both = vit.get_intermediate_layers(image, n, True, True, norm)
    assert isinstance(plain, list) and isinstance(maps, tuple) and len(plain) == len(wanted)
    for tokens, ours, (patches, token), fmap, (same_map, same_token) in zip(
        expected, plain, pairs, maps, both, strict=True
    ):
        torch.testing.assert_close(ours, tokens)
        torch.testing.assert_close(token, tokens[:, 0])
        torch.testing.assert_close(patches, tokens[:, 3:])
        assert fmap.shape == (2, 24, 3, 5)
        torch.testing.assert_close(fmap[:, :, 1, 2], tokens[:, 3 + 5 + 2])
        assert same_map.equal(fmap) and same_token.equal(token)


@pytest.mark.parametrize(
    'n, message',
    [(5, 'n .* at most 3, got 5'), (0, 'at least 1'), ([3], 'n: layer 3'), ([1, 1], 'n')],
)
def test_layers_that_do_not_exist_are_refused(vit, image, n, message) -> None:
    with pytest.raises(ValueError, match=message):
        vit.get_intermediate_layers(image, n)


def test_features_by_name(vit, image) -> None:
    masks = torch.zeros(2, 15, dtype=torch.bool)
    masks[1, 4] = True
    (raw,), found = vit(image, masks), vit.forward_features(image, masks)
    torch.testing.assert_close(found['x_norm_clstoken'], raw[:, 0])
    torch.testing.assert_close(found['x_norm_regtokens'], raw[:, 1:3])
    torch.testing.assert_close(found['x_norm_patchtokens'], raw[:, 3:])
    torch.testing.assert_close(vit.norm(found['x_prenorm']), raw)
    assert found['masks'] is masks
    small = image[:, :, :16, :16]
    several = vit.forward_features([image, small], [masks, None])
    torch.testing.assert_close(several[0]['x_prenorm'], found['x_prenorm'])
    assert several[1]['x_norm_patchtokens'].shape == (2, 4, 24) and several[1]['masks'] is None


def test_masked_patches_are_replaced_before_positions_are_added(vit, image) -> None:
    masks = torch.rand(2, 15, generator=torch.Generator().manual_seed(0)) < 0.5
    plain, masked = vit.prepare_tokens(image), vit.prepare_tokens_with_masks(image, masks)
    assert masked[:, :3].equal(plain[:, :3]) and masked[:, 3:][~masks].equal(plain[:, 3:][~masks])
    blank = VisionTransformer(**TOY, num_registers=2, use_mask_token=True)
    blank.load_state_dict(vit.state_dict())
    blank.patch_embed.proj.weight.data.zero_()
    blank.patch_embed.proj.bias.data.copy_(vit.mask_token[0])
    torch.testing.assert_close(masked[:, 3:][masks], blank.prepare_tokens(image)[:, 3:][masks])
    (raw,), (alone,) = vit(image, masks), vit(image)
    assert not torch.allclose(raw, alone, atol=1e-3)
    together = vit([image, image[..., :16, :16]], [masks, None])
    torch.testing.assert_close(together[0][0], raw)
    torch.testing.assert_close(together[1][0], vit(image[..., :16, :16])[0])
    vit.zero_grad()
    raw.square().mean().backward()
    assert vit.mask_token.grad.any()


def test_masks_that_do_not_fit_are_refused(vit, image) -> None:
    with pytest.raises(ValueError, match='use_mask_token=True'):
        VisionTransformer(**TOY)(image, torch.zeros(2, 15, dtype=torch.bool))
    with pytest.raises(ValueError, match=r'shape \(2, 15\).*\(2, 16\)'):
        vit(image, torch.zeros(2, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match='must be bool'):
        vit(image, torch.zeros(2, 15))


def test_the_mask_token_belongs_to_the_embeddings(vit) -> None:
    assert vit.state_dict()['mask_token'].shape == (1, 24)
    assert vit.get_layer_depth('backbone.mask_token', 'backbone.') == (0, 5)
    assert 'mask_token' not in VisionTransformer(**TOY).state_dict()


EMBEDDINGS = {'patch_embed', 'cls_token', 'pos_embed', 'register_tokens', 'mask_token'}
PLAIN = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1))
LAYER_DECAY = dict(
    constructor='dino_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
    optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1),
)


@pytest.mark.parametrize('wrapper', [PLAIN, LAYER_DECAY], ids=['plain', 'layer decay'])
@pytest.mark.parametrize(
    'stages, frozen',
    [
        (-1, set()),
        (0, EMBEDDINGS),
        (2, EMBEDDINGS | {'blocks.0', 'blocks.1'}),
        (3, EMBEDDINGS | {'blocks.0', 'blocks.1', 'blocks.2', 'norm'}),
    ],
)
def test_frozen_stages_do_not_move(vit, image, stages, frozen, wrapper) -> None:
    model = nn.Module()
    model.backbone = VisionTransformer(
        **TOY,
        num_registers=2,
        use_mask_token=True,
        out_type='raw',
        frozen_stages=stages,
        drop_path_rate=0.2,
    )
    model.head = nn.Linear(24, 1)
    model.backbone.load_state_dict(vit.state_dict())
    model.train()
    optim_wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', **wrapper))
    before = {name: p.clone() for name, p in model.backbone.named_parameters()}
    masks = torch.arange(30).view(2, 15) % 2 == 0
    optim_wrapper.update_params(model.head(model.backbone(image, masks)[0]).square().mean())
    for name, parameter in model.backbone.named_parameters():
        stays = any(name == part or name.startswith(f'{part}.') for part in frozen)
        assert parameter.equal(before[name]) is stays, name
    for i, block in enumerate(model.backbone.blocks):
        assert block.drop_path.training is (f'blocks.{i}' not in frozen)


def test_frozen_parts_are_in_evaluation_mode_from_the_start() -> None:
    model = VisionTransformer(**TOY, frozen_stages=1, norm_eval=True)
    assert [block.training for block in model.blocks] == [False, True, True]
    assert not model.eval().train().blocks[0].training and model.training
    with pytest.raises(ValueError, match='frozen_stages .* at most 3, got 4'):
        VisionTransformer(**TOY, frozen_stages=4)
