"""Position embeddings and relative positions of other sizes: on loading, and deterministically."""

import logging
from collections.abc import Iterator

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from dino_mm.models import VisionTransformer
from dino_mm.models.backbones.positions import (
    INTERPOLATE_MODES,
    interpolate_pos_embed,
    resize_table,
)
from dino_mm.registry import MODELS

ARCH = dict(embed_dims=12, num_layers=2, num_heads=3)
TOY = dict(arch=ARCH, img_size=32, patch_size=8, out_type='raw')
LARGER = TOY | dict(img_size=(64, 48))


@pytest.fixture(scope='module')
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**TOY).eval()


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Holder(nn.Module):
    """A model that holds a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


def by_load_state_dict(vit: VisionTransformer, tmp_path, options: dict) -> VisionTransformer:
    model = VisionTransformer(**options)
    state = vit.state_dict()
    model.load_state_dict(state, strict=True)
    assert state['pos_embed'] is not model.pos_embed and state['pos_embed'].shape[1] == 17
    return model


def by_load_checkpoint(vit: VisionTransformer, tmp_path, options: dict) -> VisionTransformer:
    torch.save(dict(state_dict=Holder(vit).state_dict()), tmp_path / 'model.pth')
    model = Holder(VisionTransformer(**options))
    load_checkpoint(model, str(tmp_path / 'model.pth'), map_location='cpu', strict=False)
    return model.backbone


def by_init_cfg(vit: VisionTransformer, tmp_path, options: dict) -> VisionTransformer:
    torch.save(Holder(vit).state_dict(), tmp_path / 'model.pth')
    path = str(tmp_path / 'model.pth')
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    model = MODELS.build(dict(type='dino_mm.VisionTransformer', **options, init_cfg=init_cfg))
    model.init_weights()
    return model


@pytest.mark.parametrize('mode', INTERPOLATE_MODES)
@pytest.mark.parametrize('load', [by_load_state_dict, by_load_checkpoint, by_init_cfg])
def test_every_way_of_loading_resizes(load, mode, vit, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        model = load(vit, tmp_path, LARGER | dict(interpolate_mode=mode)).eval()
        logger.removeHandler(caplog.handler)
    told = [record.getMessage() for record in caplog.records if 'resized' in record.getMessage()]
    assert len(told) == 1 and told[0].endswith('pos_embed: resized from 4x4 to 8x6 patches')
    expected = interpolate_pos_embed(vit.pos_embed[:, 1:], (4, 4), (8, 6), mode)
    assert model.pos_embed[:, 1:].equal(expected)
    assert model.pos_embed[:, 0].equal(vit.pos_embed[:, 0])
    if mode == 'reference':  # both see a large image alike
        image = torch.randn(1, 3, 64, 48)
        torch.testing.assert_close(model(image)[0], vit(image)[0])


def test_a_grid_that_nothing_tells_is_refused(vit) -> None:
    wide = VisionTransformer(**LARGER)
    with pytest.raises(ValueError, match=r'backbone\.pos_embed .*1 \+ 48 entries.*4x4.*img_size'):
        Holder(vit).load_state_dict(Holder(wide).state_dict())
    wide.load_state_dict(VisionTransformer(**LARGER).state_dict())  # an equal one needs no square


def test_another_width_is_no_matter_of_positions(vit) -> None:
    other = VisionTransformer(**TOY | dict(arch=ARCH | dict(embed_dims=24), img_size=64))
    with pytest.raises(RuntimeError, match='size mismatch for pos_embed'):
        vit.load_state_dict(other.state_dict())


def test_tables_of_relative_positions_are_resized(tmp_path) -> None:
    torch.manual_seed(0)
    options = dict(window_size=3, global_indices=(1,), rel_pos=True)
    small = VisionTransformer(**TOY, **options).eval()
    for block in small.blocks:
        nn.init.normal_(block.attn.rel_pos_h)
        nn.init.normal_(block.attn.rel_pos_w)
    large = by_load_checkpoint(small, tmp_path, LARGER | options).eval()
    window, everything = (block.attn for block in large.blocks)
    assert window.rel_pos_h.equal(small.blocks[0].attn.rel_pos_h)
    assert everything.rel_pos_h.shape == (15, 4) and everything.rel_pos_w.shape == (11, 4)
    assert everything.rel_pos_w.equal(resize_table(small.blocks[1].attn.rel_pos_w, 11))
    image = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(large(image)[0], small(image)[0])


def backward_functions(out: Tensor) -> set[str]:
    """Names of all functions that the backward pass calls."""
    seen, waiting = set(), [out.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in seen:
            seen.add(function)
            waiting.extend(following for following, _ in function.next_functions)
    return {function.name() for function in seen}


@pytest.mark.parametrize('target', [(3, 7), (9, 4), (1, 1), (4, 6)])
@pytest.mark.parametrize(
    'mode, dtype',
    [
        *((mode, torch.float32) for mode in INTERPOLATE_MODES),
        *((mode, torch.bfloat16) for mode in ('reference', 'exact')),  # no other on CPUs
    ],
)
def test_products_equal_interpolation(mode, target, dtype, request) -> None:
    torch.manual_seed(0)
    pos = torch.randn(1, 24, 8).to(dtype).requires_grad_()
    weight = torch.randn(1, target[0] * target[1], 8).to(dtype)
    results = []
    for name in (None, 'deterministic'):
        if name:
            request.getfixturevalue(name)
        with torch.autocast('cpu', torch.bfloat16):
            out = interpolate_pos_embed(pos, (4, 6), target, mode)
        results.append((out, *torch.autograd.grad((out * weight).sum(), pos)))
    tolerance = 2e-6 if dtype is torch.float32 else 2e-2
    for plain, ours in zip(*results, strict=True):
        assert plain.dtype is ours.dtype is dtype
        torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)


def test_nothing_interpolates_in_a_deterministic_backward_pass(request) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(**TOY, rel_pos=True).double()
    for block in model.blocks:
        nn.init.normal_(block.attn.rel_pos_h)
    images = [torch.randn(1, 3, 32, 32).double(), torch.randn(2, 3, 24, 40).double()]
    results = []
    for name in (None, 'deterministic'):
        if name:
            request.getfixturevalue(name)
        out = model(images)[1][0]
        interpolates = any('Upsample' in function for function in backward_functions(out))
        assert interpolates is (name is None)
        model.zero_grad()
        out.square().sum().backward()
        results.append([out, *(parameter.grad.clone() for parameter in model.parameters())])
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_grids_of_one_column_are_those_of_one_row_turned() -> None:
    pos = torch.randn(1, 4, 4, 8)
    for mode in INTERPOLATE_MODES:
        column = interpolate_pos_embed(pos.flatten(1, 2), (4, 4), (3, 1), mode)
        row = interpolate_pos_embed(pos.transpose(1, 2).flatten(1, 2), (4, 4), (1, 3), mode)
        torch.testing.assert_close(column, row)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_a_deterministic_step_on_cuda(deterministic, monkeypatch) -> None:
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    model = VisionTransformer(**TOY, rel_pos=True).cuda()
    images = [torch.randn(8, 3, size, size, device='cuda') for size in (32, 24)]
    gradients = []
    for _ in range(2):
        model.zero_grad()
        sum(out[0].square().sum() for out in model(images)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(first.equal(second) for first, second in zip(*gradients, strict=True))
