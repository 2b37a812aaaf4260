import json
from argparse import Namespace

import pytest
import torch
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from dino_mm.models import VisionTransformer
from dino_mm.models.backbones.layers import ConvStem
from dino_mm.registry import MODELS
from dino_mm.testing.benchmark import flops, harness, runner_overhead, step
from dino_mm.testing.benchmark.memory import calculate_peak

from ...test_configs.leaves import CONFIGS

TOY = dict(embed_dims=24, num_layers=2, num_heads=3)
SIZES = ['--batch', '2', '--locals', '1', '--out-dim', '16', '--repeats', '1', '--device', 'cpu']


@pytest.fixture(autouse=True)
def toy(monkeypatch) -> None:
    monkeypatch.setitem(VisionTransformer.arch_settings, 'tiny', TOY)
    monkeypatch.setattr(step, 'matmul_peak', lambda *_: 1e12)


def test_short(tmp_path) -> None:
    out = tmp_path / 'step.json'
    options = [*SIZES, '--model', 'vit-ti16', '--short', '--out', str(out)]
    result = step.main(options)
    assert json.loads(out.read_text()) == result
    assert list(result['variants']) == ['ours', 'plain']
    for name, figures in result['variants'].items():
        assert figures['unit'] == 'images/s' and figures['peak_memory_mib'] > 0
        rate = figures['median'] * flops.step_flops([224, 224, 96], 16, 24, 2, 16, name == 'ours')
        assert figures['tflops'] == pytest.approx(rate / 1e12, abs=1e-4)
    assert result['ratios']['ours_over_plain'] > 0


@pytest.mark.parametrize('name', step.CHANGES)
def test_every_variant_trains(name, monkeypatch) -> None:
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **_: None)
    monkeypatch.setattr(torch, 'compile', lambda function, **_: function)
    network = step.Network(24, 2, 3, 16, out_dim=16, locals=1)
    args = Namespace(network=network, batch=2, device='cpu')
    batch = [torch.randn(2, 3, size, size) for size in (48, 48, 32)]
    built, build = [], step.our_model
    monkeypatch.setattr(step, 'our_model', lambda *a, **k: built.append(build(*a, **k)) or built[0])
    call = step.ours(args, batch, **step.CHANGES[name])
    bias = built[0].teacher.backbone.norm.bias
    before = bias.clone()
    call()
    assert not bias.equal(before) and bias.isfinite().all()


def test_chosen_variants() -> None:
    result = step.main([*SIZES, '--model', 'vit-ti16', '--variants', 'float32'])
    assert set(result['variants']) == {'ours', 'float32', 'plain'}


def test_a_folder_without_the_published_code_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='holds no main_dino.py'):
        step.main([*SIZES, '--model', 'vit-ti16', '--reference', str(tmp_path)])


def test_network_for_thumbnails_is_the_configs() -> None:
    config = Config.fromfile(CONFIGS / 'dino_vit-tiny_imagenette_1xb128.py')
    multi_crop = config.train_dataloader.dataset.pipeline[-1]
    args = Namespace(network=step.THUMBNAILS, device='cpu')
    built, theirs = step.our_model(args), MODELS.build(config.model)
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    expected = [multi_crop.global_size] * 2 + [multi_crop.local_size] * multi_crop.num_local
    assert step.THUMBNAILS.sizes == expected
    result = step.main(['--model', 'thumbnails', '--batch', '2', '--variants', '--repeats', '1'])
    assert result['ratios']['ours_over_plain'] > 0
    with pytest.raises(SystemExit):
        step.main(['--model', 'thumbnails', '--reference', 'somewhere'])


@pytest.mark.parametrize('out_type', ['cls_token', 'raw'])
def test_operations_of_a_step_are_those_pytorch_counts(out_type) -> None:
    model = MODELS.build(
        dict(
            type='dino_mm.DINO',
            backbone=dict(
                type='dino_mm.VisionTransformer', arch=TOY, attention='eager', out_type=out_type
            ),
            head=dict(type='dino_mm.DINOHead', in_dim=24, out_dim=512),
            loss=dict(type='dino_mm.DINOLoss'),
        )
    )
    crops = [torch.randn(1, 3, size, size) for size in (224, 224, 96)]
    with FlopCounterMode(display=False) as counter:
        model(crops, mode='loss')['loss'].backward()
    formula = flops.step_flops([224, 224, 96], 16, 24, 2, 512, out_type == 'cls_token')
    assert counter.get_total_flops() == pytest.approx(formula, rel=1e-3)


def test_operations_of_a_convolutional_stem_are_those_pytorch_counts() -> None:
    stem = ConvStem(patch_size=8, in_channels=3, embed_dims=128)
    with FlopCounterMode(display=False) as counter:
        stem(torch.randn(1, 3, 48, 48))
    assert counter.get_total_flops() == 2 * sum(flops.stem_macs(48, 8, 128, 'conv'))


def test_the_anchor_of_vit_small() -> None:
    """113.4 GFLOP an image with 2 + 8 crops, 1.2 of it per head."""
    found = flops.step_flops([224] * 2 + [96] * 8, 16, 384, 12, 65536)
    assert found / 1e9 == pytest.approx(113.4, rel=5e-3)


def test_matmul_peak_is_the_rate_of_the_fastest_product(monkeypatch) -> None:
    # When it shall end, then before and after each product, and whether it is over yet.
    times = iter([0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 9.0])
    monkeypatch.setattr(flops.time, 'perf_counter', lambda: next(times))
    rate = flops.matmul_peak(torch.float32, 'cpu', seconds=1.0)
    assert rate == 2 * 2048**3 / 0.25


def test_overhead_of_the_runner(monkeypatch) -> None:
    monkeypatch.setattr(runner_overhead, 'MILLION', 20_000)
    result = runner_overhead.measure_overhead('cpu', repeats=3, iterations=60)
    assert set(result['variants']) == {
        'ours',
        'plain',
        'ours_after_a_million',
        'plain_after_a_million',
    }
    assert all(f['unit'] == 'ms' and f['min'] > 0 for f in result['variants'].values())


def test_calculated_memory_is_what_a_step_takes() -> None:
    """A step with tensors of no contents against the same one with contents, on this CPU."""
    network = step.Network(24, 2, 3, 16, out_dim=4096, locals=1)
    args = Namespace(network=network, batch=4, device='cpu')
    changes = dict(backbone=dict(attention='sdpa'), loss=dict(chunk_size=4))
    wrapper = dict(dtype='bfloat16')
    model = step.our_model(args, **changes)
    weights = sum(p.numel() for p in model.student.parameters()) * 4
    batch = step.crops(args)
    call = step.our_step(model, batch, wrapper=wrapper)
    call()
    resident = 4 * weights + sum(crop.numel() * 4 for crop in batch)  # teacher and two moments
    measured = harness.peak_memory(call, 'cpu') + resident / 2**20
    model = step.our_model(args, **changes)
    calculated = calculate_peak(
        model, lambda: step.our_step(model, step.crops(args), wrapper=wrapper)
    )
    assert calculated * 1024 == pytest.approx(measured, rel=0.05)


def test_memory_by_technique(capsys, tmp_path) -> None:
    out = tmp_path / 'memory.json'
    # On a machine with a GPU that is the default device, but nothing is computed there either.
    options = ['--model', 'vit-ti16', '--calculate-memory', '--out', str(out), '--device', 'cuda']
    found = step.main([*SIZES, *options])
    assert json.loads(out.read_text())['variants'] == found
    assert found['recompute_all'] < found['ours'] < found['explicit_attention']
    assert 'calculated' in capsys.readouterr().out
