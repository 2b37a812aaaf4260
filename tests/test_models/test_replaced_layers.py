"""Whatever wraps, replaces or hooks a layer sees every call, and all tokens."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import parametrize

from dino_mm.models import VisionTransformer

TOY = dict(arch=dict(embed_dims=24, num_layers=3, num_heads=3), img_size=32, patch_size=8)
#: One image size, and two packed.
INPUTS = [torch.randn(2, 3, 32, 32), [torch.randn(2, 3, 32, 32), torch.randn(1, 3, 16, 24)]]


class LowRank(nn.Module):
    """An adapter (LoRA) around a linear layer."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Neighbors(nn.Module):
    """An MLP that lets tokens see each other."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x.mean(dim=-2, keepdim=True)


class OnlyTokens(nn.Module):
    """A wrapper that passes tokens on and nothing else."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x)


def with_adapters(model: nn.Module) -> nn.Module:
    for block in model.blocks:
        for owner, name in ((block.attn, 'qkv'), (block.attn, 'proj'), (block.mlp, 'fc1')):
            setattr(owner, name, LowRank(getattr(owner, name)))
    return model


def with_parametrization(model: nn.Module) -> nn.Module:
    parametrize.register_parametrization(model.blocks[-1].attn.qkv, 'weight', Doubled())
    return model


def with_neighbors(model: nn.Module) -> nn.Module:
    model.blocks[-1].mlp = Neighbors(model.blocks[-1].mlp)
    return model


def with_another_forward(model: nn.Module) -> nn.Module:
    mlp = model.blocks[-1].mlp
    mlp.forward = Neighbors(copy.deepcopy(mlp)).forward
    return model


def quantized(model: nn.Module) -> nn.Module:
    return quantize_dynamic(model, {nn.Linear}, torch.qint8)


def class_tokens(model: VisionTransformer, inputs: Tensor | list[Tensor], out_type: str) -> Tensor:
    model.out_type = out_type
    outs = model(inputs)
    layers = [out[0] for out in outs] if isinstance(inputs, list) else [outs[0]]
    return torch.cat([layer if layer.ndim == 2 else layer[:, 0] for layer in layers])


@pytest.mark.parametrize('inputs', INPUTS, ids=['one size', 'two sizes'])
@pytest.mark.parametrize(
    'change',
    [with_adapters, with_parametrization, with_neighbors, with_another_forward, quantized],
)
def test_the_class_token_is_that_of_all_tokens(change, inputs) -> None:
    torch.manual_seed(0)
    plain = VisionTransformer(**TOY).eval()
    model = change(copy.deepcopy(plain)).eval()
    alone, all_tokens = (class_tokens(model, inputs, kind) for kind in ('cls_token', 'raw'))
    torch.testing.assert_close(alone, all_tokens)
    assert not torch.allclose(alone, class_tokens(plain, inputs, 'raw'), atol=1e-5)


@pytest.mark.parametrize('change', [with_adapters, with_parametrization])
def test_gradients_are_those_of_all_tokens(change) -> None:
    torch.manual_seed(0)
    model = change(VisionTransformer(**TOY))
    gradients = []
    for out_type in ('cls_token', 'raw'):
        model.zero_grad()
        class_tokens(model, INPUTS[1], out_type).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    alone, all_tokens = gradients
    assert len([name for name in alone if '.up.' in name]) == 9 * (change is with_adapters)
    for name, gradient in alone.items():
        torch.testing.assert_close(gradient, all_tokens[name])
        assert gradient.any() or name.endswith('qkv.bias'), name


def test_hooks_of_every_layer_see_all_tokens() -> None:
    model = VisionTransformer(**TOY).eval()
    expected = class_tokens(model, INPUTS[0], 'cls_token')
    seen = {}
    for block in ('blocks.0', 'blocks.2'):
        for name in ('', '.norm1', '.attn', '.attn.qkv', '.attn.proj', '.norm2', '.mlp'):
            model.get_submodule(block + name).register_forward_hook(
                lambda _, args, out, name=block + name: seen.update({name: (args[0], out)})
            )
    torch.testing.assert_close(class_tokens(model, INPUTS[0], 'cls_token'), expected)
    assert len(seen) == 14
    for name, (x, out) in seen.items():
        assert x.shape == (2, 17, 24), name
        assert out.shape == (2, 17, 72 if name.endswith('qkv') else 24), name


@pytest.mark.parametrize(
    'name', ['blocks.2.attn.qkv', 'blocks.2.attn', 'blocks.2.mlp.fc2', 'blocks.2', 'norm']
)
@pytest.mark.parametrize('kind', ['forward_pre', 'full_backward'])
def test_one_hook_of_any_kind_keeps_all_tokens(name, kind) -> None:
    model, rows = VisionTransformer(**TOY), []
    layer = model.get_submodule(name)
    getattr(layer, f'register_{kind}_hook')(
        lambda module, values, *_: rows.append(values[0].shape[:-1].numel())
    )
    model(INPUTS[0])[0].sum().backward()
    assert rows == [2 * 17]


@pytest.mark.parametrize('registers', [0, 2])
def test_blocks_take_plain_tokens(registers) -> None:
    model = VisionTransformer(**TOY, num_registers=registers, out_type='raw', drop_path_rate=0.5)
    x = model.prepare_tokens(INPUTS[0])
    assert x.shape == (2, 17 + registers, 24)
    torch.manual_seed(0)  # of stochastic depth
    for block in model.blocks:
        x = block(x)
    torch.manual_seed(0)
    torch.testing.assert_close(model.norm(x), model(INPUTS[0])[0])


def test_layers_that_take_nothing_but_tokens_can_stand_in() -> None:
    model = VisionTransformer(**TOY).eval()
    expected = model(INPUTS[0])[0]
    model.blocks[0] = OnlyTokens(model.blocks[0])
    model.blocks[1].attn = OnlyTokens(model.blocks[1].attn)
    model.blocks[2] = OnlyTokens(model.blocks[2])
    torch.testing.assert_close(model(INPUTS[0])[0], expected)


def test_windows_say_that_they_need_the_grid() -> None:
    model = VisionTransformer(**TOY, window_size=2, out_type='raw').eval()
    x = model.prepare_tokens(INPUTS[0])
    with pytest.raises(ValueError, match=r'block\(x, grids='):
        model.blocks[0](x)
    for block in model.blocks:
        x = block(x, grids=[(4, 4)])
    torch.testing.assert_close(model.norm(x), model(INPUTS[0])[0])
