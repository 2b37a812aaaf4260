import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from dino_mm.checkpoint.infer import infer_vit
from dino_mm.models import VisionTransformer
from dino_mm.models.backbones.layers import KERNELS, DropPath, attend
from dino_mm.models.backbones.vision_transformer import interpolate_pos_embed
from dino_mm.registry import MODELS

TOY = dict(arch=dict(embed_dims=24, num_layers=3, num_heads=3), img_size=32, patch_size=8)


@pytest.fixture
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**TOY).eval()


@pytest.mark.parametrize(
    'arch, patch, count', [('tiny', 16, 5524416), ('small', 16, 21665664), ('base', 16, 85798656)]
)
def test_published_sizes_have_the_published_number_of_parameters(arch, patch, count) -> None:
    model = VisionTransformer(arch, patch_size=patch)
    assert sum(p.numel() for p in model.parameters()) == count


def test_published_initialization() -> None:
    torch.manual_seed(0)
    model = VisionTransformer('small')
    for name in ('blocks.0.attn.qkv.weight', 'blocks.11.mlp.fc2.weight', 'pos_embed'):
        assert model.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.02)
    assert not model.blocks[3].attn.proj.bias.any()
    bound = (3 * 16 * 16) ** -0.5  # PyTorch's default of the patch projection is kept
    assert model.patch_embed.proj.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_loading_a_published_checkpoint_is_strict() -> None:
    timm = pytest.importorskip('timm')
    theirs = timm.create_model('vit_small_patch16_224', num_classes=0).eval()
    ours = VisionTransformer('small').eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(image)[0], theirs.forward_features(image)[:, 0], rtol=1e-4, atol=1e-4
        )


def test_crops_in_a_list_equal_crops_one_by_one(vit) -> None:
    sizes = [(2, 32, 32), (3, 16, 16), (1, 24, 48)]
    images = [torch.randn(b, 3, h, w) for b, h, w in sizes]
    together = vit(images)
    for packed, image in zip(together, images, strict=True):
        torch.testing.assert_close(packed[0], vit(image)[0], rtol=1e-5, atol=1e-5)


def test_output_types(vit) -> None:
    image = torch.randn(2, 3, 24, 48)
    shapes = {}
    for out_type in VisionTransformer.out_types:
        vit.out_type = out_type
        shapes[out_type] = tuple(vit(image)[0].shape)
    assert shapes == dict(
        cls_token=(2, 24),
        patch_tokens=(2, 18, 24),
        avg_featmap=(2, 24),
        featmap=(2, 24, 3, 6),
        raw=(2, 19, 24),
    )
    vit.out_type = 'featmap'
    featmap = vit(image)[0]
    tokens = vit.get_intermediate_layers(image)[0]
    torch.testing.assert_close(featmap[:, :, 1, 2], tokens[:, 1 + 6 + 2])


def test_maps_of_several_layers_at_any_size(vit) -> None:
    """What of an image fills no patch, at the right and below, has no part in its maps."""
    vit.out_type, vit.out_indices = 'featmap', [0, 1]
    image = torch.randn(2, 3, 29, 51)
    maps = vit(image)
    assert [tuple(m.shape) for m in maps] == [(2, 24, 3, 6)] * 2 and not maps[0].equal(maps[1])
    for ours, cut in zip(maps, vit(image[..., :24, :48]), strict=True):
        torch.testing.assert_close(ours, cut)


def test_every_returned_layer_is_normalized() -> None:
    model = VisionTransformer(**TOY, out_indices=(0, -1), out_type='raw').eval()
    image = torch.randn(1, 3, 32, 32)
    first, last = model(image)
    torch.testing.assert_close(last, model.get_intermediate_layers(image)[0])
    torch.testing.assert_close(first.mean(-1), torch.zeros(1, 17), atol=1e-5, rtol=0)


def test_attention_is_the_one_the_forward_pass_uses(vit) -> None:
    image = torch.randn(2, 3, 16, 24)
    seen = {}
    block = vit.blocks[1]

    def keep(module, args, output):
        seen['x'], seen['out'] = args[0], output

    handle = block.attn.register_forward_hook(keep)
    vit(image)
    handle.remove()
    maps = vit.get_attention(image, layer=1)  # (B, heads, N, N)
    assert maps.shape == (2, 3, 7, 7)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3, 7))
    value = block.attn.heads(seen['x'])[0][2]
    mixed = (maps @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block.attn.proj(mixed), seen['out'], rtol=1e-4, atol=1e-5)


def test_explicit_attention_equals_the_fused_kernel() -> None:
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def saved_bytes(model: VisionTransformer, images: list[torch.Tensor]) -> int:
    """Activations kept for the backward pass, which is run."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = sum(out[0].square().sum() for out in model(images))
    out.backward()
    return sum(sizes.values())


def test_activation_checkpointing_saves_memory_and_changes_no_gradient() -> None:
    torch.manual_seed(0)
    plain = VisionTransformer(**TOY)
    images = [torch.randn(2, 3, 64, 64), torch.randn(2, 3, 16, 16)]
    kept = dict(none=saved_bytes(plain, images))
    for activation_checkpointing in ('attn', 1, 2, True):
        saving = VisionTransformer(**TOY, activation_checkpointing=activation_checkpointing)
        saving.load_state_dict(plain.state_dict())
        kept[str(activation_checkpointing)] = saved_bytes(saving, images)
        for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)
    assert kept['True'] < kept['2'] < kept['1'] < kept['none']
    assert kept['attn'] < 0.8 * kept['none']
    with pytest.raises(ValueError, match="activation_checkpointing.*'mlp'"):
        VisionTransformer(**TOY, activation_checkpointing='mlp')


@pytest.mark.parametrize('kernel', ['eager', 'sdpa'])
def test_attention_is_recomputed_only_where_that_saves_something(kernel) -> None:
    work = []
    for recompute in (False, 'attn'):
        model = VisionTransformer(**TOY, attention=kernel, activation_checkpointing=recompute)
        with FlopCounterMode(display=False) as counter:
            model(torch.randn(2, 3, 32, 32))[0].sum().backward()
        work.append(counter.get_total_flops())
    assert (work[1] > work[0]) is (kernel == 'eager')


def test_old_names_of_options_work_with_a_warning() -> None:
    for old, new in (('explicit', 'eager'), ('fused', 'sdpa')):
        with pytest.warns(FutureWarning, match=f"attention='{old}' is now called '{new}'"):
            model = VisionTransformer(**TOY, attention=old)
        image = torch.randn(2, 3, 32, 32)
        expected = VisionTransformer(**TOY, attention=new)
        expected.load_state_dict(model.state_dict())
        assert expected(image)[0].equal(model(image)[0])
    with pytest.warns(FutureWarning, match='with_cp is now called activation_checkpointing'):
        old = VisionTransformer(**TOY, with_cp=True)
    new = VisionTransformer(**TOY, activation_checkpointing=True)
    images = [torch.randn(2, 3, 32, 32)]
    assert saved_bytes(old, images) == saved_bytes(new, images)


@pytest.mark.parametrize(
    'options',
    [
        dict(drop_path_rate=0.5),
        dict(qkv_bias=False, layer_scale=0.5, num_registers=2, out_indices=(0, -1)),
        dict(attention='sdpa', activation_checkpointing=True),
        dict(window_size=2, global_indices=(0,), rel_pos=True),  # windows need all tokens
    ],
)
def test_work_for_tokens_that_nothing_reads_is_left_out(options) -> None:
    images = [torch.randn(2, 3, 64, 64).double(), torch.randn(3, 3, 16, 16).double()]
    model = VisionTransformer(**TOY, **options).double()
    work, results = [], []
    for out_type in ('cls_token', 'raw'):
        model.out_type = out_type
        torch.manual_seed(0)  # of stochastic depth
        with FlopCounterMode(display=False) as counter:
            layers = [layer for out in model(images) for layer in out]
        work.append(counter.get_total_flops())
        layers = [layer if layer.ndim == 2 else layer[:, 0] for layer in layers]
        model.zero_grad()
        sum(layer.square().sum() for layer in layers).backward()
        results.append([*layers, *(parameter.grad for parameter in model.parameters())])
    for alone, all_tokens in zip(*results, strict=True):
        torch.testing.assert_close(alone, all_tokens)
    others = 2 * 64 + 3 * 4  # patches, of each of which projection and MLP cost 9 C^2
    saved = 0 if 'window_size' in options else 2 * 9 * 24**2 * others
    assert work[1] - work[0] >= saved and (work[1] == work[0]) == (saved == 0)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_attention_kernels_agree(dtype) -> None:
    torch.manual_seed(0)
    kind = torch.float64 if dtype is torch.float64 else torch.float32  # outside autocast
    auto = VisionTransformer(**TOY)
    images = [torch.randn(2, 3, size, size).to(kind) for size in (32, 16)]
    results = {}
    for kernel in KERNELS:
        model = VisionTransformer(**TOY, attention=kernel).to(kind)
        model.load_state_dict(auto.state_dict())
        with torch.autocast('cpu', torch.bfloat16, enabled=dtype is torch.bfloat16):
            out = torch.cat([out[0] for out in model(images)])
            with torch.no_grad():
                still = torch.cat([out[0] for out in model(images)])
        tolerance = 1e-10 if dtype is torch.float64 else 5e-2  # a few roundings of 2 ** -8
        torch.testing.assert_close(still, out, rtol=tolerance, atol=tolerance)
        results[kernel] = torch.autograd.grad(out.square().sum(), model.blocks[0].attn.qkv.weight)
    for kernel in KERNELS[1:]:
        torch.testing.assert_close(
            results[kernel], results['auto'], rtol=tolerance, atol=tolerance * 0.5
        )
    with pytest.raises(ValueError, match="attention.*'flash'"):
        VisionTransformer(**TOY, attention='flash')


def test_stochastic_depth_drops_whole_images() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 2), [(200, 10), (100, 20)])
    values = torch.cat([out[:2000].view(200, 20), out[2000:].view(100, 40)[:, :20]])
    assert (values == values[:, :1]).all()
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert (values[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.07)
    assert drop.eval()(torch.ones(10, 2), [(1, 10)]).eq(1).all()


def test_stochastic_depth_rises_linearly() -> None:
    model = VisionTransformer(**TOY, drop_path_rate=0.1)
    rates = [1 - block.drop_path.keep.item() for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1])


def test_both_forms_of_position_interpolation() -> None:
    pos = torch.randn(1, 16, 8)
    assert interpolate_pos_embed(pos, (4, 4), (4, 4)) is pos
    reference = interpolate_pos_embed(pos, (4, 4), (3, 7))
    exact = interpolate_pos_embed(pos, (4, 4), (3, 7), mode='exact')
    assert reference.shape == exact.shape == (1, 21, 8)
    assert not torch.allclose(reference, exact, atol=1e-3)
    with pytest.raises(ValueError, match='interpolate_mode'):
        interpolate_pos_embed(pos, (4, 4), (3, 7), mode='nearest')


def test_any_number_of_channels() -> None:
    assert VisionTransformer(**TOY, in_channels=5)(torch.randn(1, 5, 32, 32))[0].shape == (1, 24)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(arch='huge'), 'huge'),
        (dict(arch=dict(embed_dims=8)), 'num_heads'),
        (dict(out_type='tokens'), 'tokens'),
        (dict(out_indices=(3,)), 'layer 3'),
        (dict(out_indices=(2, -1)), 'out_indices: a layer is named twice'),
        (dict(weight_init='zeros'), 'zeros'),
        (dict(interpolate_mode='nearest'), "interpolate_mode.*'nearest'"),
        *(
            (dict(arch=TOY['arch'] | {key: value}), f'backbone.arch.{key} must be')
            for key in TOY['arch']
            for value in (0, -1, 2.0)
        ),
        (dict(arch=TOY['arch'] | dict(num_heads=5)), 'embed_dims must be a multiple.*5'),
        *(
            ({key: value}, f'backbone.{key} must be .*{value}')
            for key, values in dict(
                patch_size=(0, 8.0),
                img_size=(7, 31.5, (32, 4), '32'),
                in_channels=(0, 3.0),
                mlp_ratio=(0, -1, float('nan')),
                drop_path_rate=(-0.1, 1, 1.5),
                layer_scale=(-1e-5, float('inf')),
                num_registers=(-1, 1.5),
                window_size=(-1, 2.5),
                frozen_stages=(-2, 4, 0.5),
                activation_checkpointing=(-1, 1.5),
            ).items()
            for value in values
        ),
    ],
)
def test_wrong_options_are_named(change, message) -> None:
    if 'img_size' in change:
        message = 'backbone.img_size must be a whole number, at least 8'
    with pytest.raises(ValueError, match=message):
        VisionTransformer(**(TOY | change))


def test_an_image_below_one_patch_is_refused(vit) -> None:
    with pytest.raises(ValueError, match='below one patch'):
        vit(torch.zeros(1, 3, 4, 32))


def test_stochastic_depth_keeps_the_mean_in_bfloat16() -> None:
    x = torch.rand(4000, 16).add(0.5).bfloat16()
    out = DropPath(0.1).train()(x, [(4000, 1)])
    kept = out[:, 0] != 0
    factor = (out[kept].double() / x[kept].double()).mean()
    assert out.dtype is torch.bfloat16 and 3400 < kept.sum() < 3800
    assert float(factor) == pytest.approx(1 / 0.9, abs=3e-4)  # 1 / 0.9 in bfloat16 is off by 17e-4


def test_convolutional_stem() -> None:
    """Whole patches only, a power of two, and known again from its tensors."""
    arch = dict(embed_dims=48, num_layers=2, num_heads=3)
    model = VisionTransformer(arch, img_size=32, patch_size=8, in_channels=4, stem='conv').eval()
    assert [block[0].out_channels for block in model.patch_embed.stem] == [32, 32, 48]
    images = torch.randn(2, 4, 37, 24)
    assert model.prepare_tokens(images).shape == (2, 1 + 4 * 3, 48)
    torch.testing.assert_close(model(images)[0], model(images[..., :32, :])[0])
    inferred = infer_vit(model.state_dict(), dict(arch=arch))
    assert MODELS.build(inferred).load_state_dict(model.state_dict()).missing_keys == []
    with pytest.raises(ValueError, match='power of two'):
        VisionTransformer(arch, patch_size=14, stem='conv')
    with pytest.raises(ValueError, match="'linear', 'conv'"):
        VisionTransformer(arch, stem='convolution')
