import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dino_mm.models import VisionTransformer
from dino_mm.models.backbones.layers import Attention
from dino_mm.models.backbones.windows import (
    GridAttention,
    merge_windows,
    relative_bias,
    relative_embeddings,
    split_windows,
)

DIMS, HEADS = 12, 3
TOY = dict(arch=dict(embed_dims=12, num_layers=3, num_heads=3), img_size=32, patch_size=8)


def grid_attention(**kwargs) -> GridAttention:
    torch.manual_seed(0)
    module = GridAttention(DIMS, HEADS, **kwargs)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def plain_attention(module: Attention, x: Tensor) -> Tensor:
    """One softmax per head of one sequence (N, C)."""
    heads = []
    q, k, v = (part.chunk(HEADS, dim=-1) for part in module.qkv(x).chunk(3, dim=-1))
    for i in range(HEADS):
        heads.append((q[i] @ k[i].T / (DIMS // HEADS) ** 0.5).softmax(-1) @ v[i])
    return module.proj(torch.cat(heads, dim=-1))


def test_windows_equal_the_plain_formula_window_by_window() -> None:
    module, prefix, (h, w), s = grid_attention(window_size=2), 2, (4, 5), 2
    x = torch.randn(2, prefix + h * w, DIMS)
    ours = module(x.flatten(0, 1), [(2, prefix + h * w)], [(h, w)]).view_as(x)
    for image, result in zip(x, ours, strict=True):
        patches = F.pad(image[prefix:].view(h, w, DIMS), (0, 0, 0, 1))  # to 4 x 6
        expected, tokens = torch.zeros(4, 6, DIMS), []
        for top in range(0, 4, s):
            for left in range(0, 6, s):
                window = patches[top : top + s, left : left + s].reshape(-1, DIMS)
                out = plain_attention(module, torch.cat([image[:prefix], window]))
                tokens.append(out[:prefix])
                expected[top : top + s, left : left + s] = out[prefix:].view(s, s, DIMS)
        torch.testing.assert_close(result[prefix:].view(h, w, DIMS), expected[:, :5])
        torch.testing.assert_close(result[:prefix], torch.stack(tokens).mean(0))


@pytest.mark.parametrize('grid', [(4, 4), (3, 5), (1, 7)])
def test_split_windows_are_merged_again(grid) -> None:
    x = torch.randn(3, 2 + grid[0] * grid[1], 4)
    windows = split_windows(x, grid, (2, 3))
    assert windows.shape == (3 * -(-grid[0] // 2) * -(-grid[1] // 3), 2 + 6, 4)
    torch.testing.assert_close(merge_windows(windows, grid, (2, 3)), x)


@pytest.mark.parametrize('size', [(32, 32), (24, 56), (16, 40)])
def test_a_window_as_large_as_the_grid_is_global_attention(size) -> None:
    torch.manual_seed(0)
    plain = VisionTransformer(**TOY, out_type='raw').eval()
    windowed = VisionTransformer(**TOY, out_type='raw', window_size=7).eval()
    windowed.load_state_dict(plain.state_dict(), strict=True)  # the published keys
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(windowed(image)[0], plain(image)[0], rtol=1e-4, atol=1e-5)


def test_a_window_sees_its_patches_and_the_prefix_tokens() -> None:
    module, prefix = grid_attention(window_size=2), 1
    x = torch.randn(1, prefix + 16, DIMS, requires_grad=True)
    out = module(x.flatten(0, 1), [(1, prefix + 16)], [(4, 4)])
    out[prefix].sum().backward()  # the first patch
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen[prefix:].view(4, 4).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert seen[:prefix].all()


@pytest.mark.parametrize('length', [7, 5])
def test_relative_bias_equals_the_sum_over_pairs(length) -> None:
    (h, w), prefix = (4, 3), 1
    rows, columns = torch.randn(length, 4), torch.randn(5, 4)
    q = torch.randn(2, HEADS, prefix + h * w, 4)
    bias = relative_bias(q, rows, columns, (h, w))
    if length == 5:  # resized from another grid
        rows = F.interpolate(rows.T[None], size=7, mode='linear')[0].T
    assert not bias[..., :prefix].any() and not bias[..., :prefix, :].any()
    for query in range(h * w):
        for key in range(h * w):
            vector = q[:, :, prefix + query]
            (i, j), (k, m) = divmod(query, w), divmod(key, w)
            expected = vector @ rows[i - k + h - 1] + vector @ columns[j - m + w - 1]
            torch.testing.assert_close(bias[..., prefix + query, prefix + key], expected)


def test_relative_embeddings_count_from_the_query() -> None:
    table = torch.arange(5.0)[:, None]
    assert relative_embeddings(table, 3)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]


def test_relative_positions_begin_at_zero_and_learn() -> None:
    torch.manual_seed(0)
    plain = VisionTransformer(**TOY, out_type='raw')
    options = dict(window_size=3, global_indices=(-1,))
    windowed = VisionTransformer(**TOY, out_type='raw', **options)
    relative = VisionTransformer(**TOY, out_type='raw', **options, rel_pos=True)
    windowed.load_state_dict(plain.state_dict())
    missing, unexpected = relative.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all('.attn.rel_pos_' in key for key in missing)
    assert len(relative.blocks[0].attn.rel_pos_h) == 5  # of a window
    assert len(relative.blocks[2].attn.rel_pos_w) == 7  # of the grid
    image = torch.randn(2, 3, 24, 48)
    torch.testing.assert_close(relative(image)[0], windowed(image)[0])
    (relative(image)[0] ** 3).sum().backward()
    assert all(p.grad.abs().max() > 0 for n, p in relative.named_parameters() if 'rel_pos' in n)


def test_packing_and_checkpointing_leave_windows_as_they_are() -> None:
    torch.manual_seed(0)
    options = dict(window_size=2, global_indices=(1,), rel_pos=True)
    model = VisionTransformer(**TOY, **options)
    images = [torch.randn(2, 3, 32, 32), torch.randn(1, 3, 40, 24)]
    packed = [out[0] for out in model(images)]
    for out, image in zip(packed, images, strict=True):
        torch.testing.assert_close(out, model(image)[0], rtol=1e-4, atol=1e-5)
    saving = VisionTransformer(**TOY, **options, activation_checkpointing=True)
    saving.load_state_dict(model.state_dict())
    for out, again in zip(packed, saving(images), strict=True):
        torch.testing.assert_close(again[0], out)


def test_attention_maps_exist_for_global_layers_only() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(**TOY, window_size=2, global_indices=(2,), rel_pos=True)
    torch.nn.init.normal_(model.blocks[2].attn.rel_pos_h)
    image = torch.randn(1, 3, 32, 32)
    seen = {}
    attention = model.blocks[2].attn
    attention.register_forward_hook(lambda _, args, out: seen.update(x=args[0], out=out))
    model(image)
    value = attention.heads(seen['x'])[0][2]
    mixed = (model.get_attention(image) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.proj(mixed), seen['out'], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match='global_indices'):
        model.get_attention(image, layer=0)


def test_a_global_layer_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match='global_indices: layer 11'):
        VisionTransformer(**TOY, window_size=2, global_indices=(2, 11))
