import copy

import pytest
import torch
from torch import nn

from dino_mm.models import DINOHead

TOY = dict(in_dim=12, out_dim=20, hidden_dim=16, bottleneck_dim=8)


def test_published_keys_and_size() -> None:
    head = DINOHead(384)
    assert list(head.state_dict()) == [
        'mlp.0.weight',
        'mlp.0.bias',
        'mlp.2.weight',
        'mlp.2.bias',
        'mlp.4.weight',
        'mlp.4.bias',
        'last_layer.weight_g',
        'last_layer.weight_v',
    ]
    assert sum(p.numel() for p in head.parameters()) == 22352128


def test_output_is_the_cosine_to_each_prototype() -> None:
    head = DINOHead(**TOY)
    out = head(torch.randn(5, 12)).logits
    assert out.shape == (5, 20)
    assert out.abs().max() <= 1
    scaled = DINOHead(**TOY, norm_last_layer=False)
    scaled.load_state_dict(head.state_dict())
    scaled.last_layer.weight_g.data.fill_(3.0)
    x = torch.randn(5, 12)
    torch.testing.assert_close(scaled(x).logits, 3 * head(x).logits)


def test_matches_weight_norm_of_pytorch() -> None:
    head = DINOHead(**TOY)
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(8, 20, bias=False))
    theirs.parametrizations.weight.original0.data.fill_(1)
    theirs.parametrizations.weight.original1.data.copy_(head.last_layer.weight_v)
    x = torch.randn(3, 8)
    torch.testing.assert_close(head.last_layer(x)[0], theirs(x))


@pytest.mark.parametrize('norm', [None, 'bn', 'ln'])
@pytest.mark.parametrize('num_layers', [1, 2, 4])
def test_depths_and_norms(norm, num_layers) -> None:
    head = DINOHead(**TOY, num_layers=num_layers, norm=norm)
    kinds = [type(module) for module in head.mlp.modules()]
    assert kinds.count(nn.Linear) == num_layers
    assert kinds.count(nn.GELU) == num_layers - 1
    norms = kinds.count(nn.BatchNorm1d) + kinds.count(nn.LayerNorm)
    assert norms == (num_layers - 1 if norm else 0)
    head(torch.randn(4, 12)).logits.sum().backward()


@pytest.mark.parametrize('fixed', [True, False])
def test_scale_is_frozen_or_learned(fixed) -> None:
    head = DINOHead(**TOY, norm_last_layer=fixed)
    assert head.last_layer.weight_g.requires_grad is not fixed
    assert head.last_layer.weight_g.eq(1).all()


def test_survives_deepcopy_after_use_and_compile() -> None:
    head = DINOHead(**TOY)
    x = torch.randn(4, 12)
    expected = head(x)
    twin = copy.deepcopy(head)
    torch.testing.assert_close(twin(x), expected)
    head.last_layer.weight_v.data.zero_().add_(1)
    torch.testing.assert_close(twin(x), expected)
    traced = torch.compile(twin, backend='eager', fullgraph=True)
    torch.testing.assert_close(traced(x), expected)


def test_what_logits_are_made_of() -> None:
    head, x = DINOHead(**TOY), torch.randn(5, 12)
    logits, bottleneck, prototypes = head(x)
    torch.testing.assert_close(bottleneck @ prototypes.T, logits)
    torch.testing.assert_close(bottleneck.norm(dim=-1), torch.ones(5))
    alone = head(x, logits=False)
    assert alone.logits is None and alone.bottleneck.equal(bottleneck)


@pytest.mark.parametrize(
    'change',
    [
        dict(num_layers=0),
        dict(norm='group'),
        dict(in_dim=0),
        dict(hidden_dim=1.5),
        dict(bottleneck_dim=0),
        dict(out_dim=1),
    ],
)
def test_wrong_options_are_named(change) -> None:
    with pytest.raises(ValueError, match='head.' + next(iter(change))):
        DINOHead(**TOY | change)
