import json
import signal
from collections.abc import Iterator

import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from dino_mm.testing.benchmark import end_to_end, pipeline
from dino_mm.testing.benchmark.plain_transform import PlainMultiCrop


@pytest.fixture(autouse=True)
def same_threads_after() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def check(result: dict, path) -> None:
    assert json.loads(path.read_text()) == result
    assert set(result) == {'benchmark', 'machine', 'versions', 'variants', 'ratios'}
    for figures in result['variants'].values():
        assert figures['unit'] == 'images/s' and 0 < figures['min'] <= figures['max']
        assert figures['peak_memory_mib'] > 0


def test_short_pipeline(image_folder, tmp_path) -> None:
    out, threads = tmp_path / 'out.json', torch.get_num_threads()
    options = ['--short', '--images', '2', '--repeats', '1', '--out', str(out)]
    result = pipeline.main([str(image_folder), *options])
    check(result, out)
    assert list(result['variants']) == ['ours', 'cpu_only', 'plain']
    assert {'ours_over_plain', 'cpu_only_over_plain'} <= set(result['ratios'])
    assert torch.get_num_threads() == threads  # one core is for the measurement alone


def test_every_variant_of_the_pipeline(image_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch, 'compile', lambda function, **_: function)
    (tmp_path / 'main_dino.py').write_text(
        'from dino_mm.testing.benchmark.plain_transform import PlainMultiCrop\n'
        'def DataAugmentationDINO(global_scale, local_scale, num_local):\n'
        '    assert (global_scale, local_scale) == ((0.4, 1.0), (0.05, 0.4))\n'
        '    return PlainMultiCrop(num_local)\n'
    )
    options = '--images 1 --repeats 1 --num-local 1 --workers 1 --batch-size 2 --batches 1'
    options = f'{options} --reference {tmp_path} --out {tmp_path}/out.json'.split()
    result = pipeline.main([str(image_folder), *options])
    check(result, tmp_path / 'out.json')
    assert {'ours_decode', 'cpu_only_pillow', 'reference'} <= set(result['variants'])
    assert {'loader_ours_over_loader_plain', 'reference_over_plain'} <= set(result['ratios'])
    assert 'device_all_over_device_photometric' in result['ratios']


TOY = '--arch tiny --batch-size 2 --num-local 0 --out-dim 16 --repeats 1 --workers 1 --iterations 1 --threads 1'


def test_short_end_to_end(image_folder, tmp_path) -> None:
    out, handler = tmp_path / 'out.json', signal.getsignal(signal.SIGINT)
    result = end_to_end.main([str(image_folder), *f'{TOY} --short --out {out}'.split()])
    check(result, out)
    assert list(result['variants']) == ['ours', 'plain']
    assert result['ratios']['ours_over_plain'] > 0
    assert signal.getsignal(signal.SIGINT) is handler


def test_variants_of_end_to_end(image_folder, monkeypatch) -> None:
    """Each changes the config as its name says; none is trained here."""
    configs = {}

    def ours(args, work_dir, **changes):
        configs[work_dir.rsplit('/')[-1]] = end_to_end.our_config(args, work_dir, **changes)
        return lambda: 1.0

    monkeypatch.setattr(end_to_end, 'ours', ours)
    monkeypatch.setattr(end_to_end, 'plain', lambda *_: lambda: 1.0)
    monkeypatch.setattr(end_to_end, 'enable_amp', lambda cfg: cfg.optim_wrapper.update(dtype='b'))
    result = end_to_end.main([str(image_folder), *TOY.split()])
    assert set(result['variants']) == {*configs, 'plain'}
    for name, cfg in configs.items():
        dataset = cfg.train_dataloader.dataset
        assert dataset.times * 12 >= 2 * (1 + 3) and dataset.dataset.data_root == str(image_folder)
        load, crop = dataset.dataset.pipeline
        backend = name.removeprefix('ours_')
        backend = backend if backend in ('pillow', 'opencv', 'device', 'decode') else 'auto'
        assert crop.backend == backend and load.as_tensor == (backend != 'pillow')
        assert cfg.optim_wrapper.dtype == (None if name == 'ours_float32' else 'b')
        assert ('compile' in cfg.default_hooks) == (name == 'ours_compiled')
        assert cfg.model.backbone.arch == 'tiny' and cfg.model.head.in_dim == 192


def test_other_device_than_the_runners_is_refused(image_folder) -> None:
    other = 'cpu' if torch.cuda.is_available() else 'cuda'
    with pytest.raises(ValueError, match=f'{other}.*Runner'):
        end_to_end.main([str(image_folder), '--device', other])


def test_plain_transform_has_the_published_settings() -> None:
    views = [view.transforms for view in PlainMultiCrop(num_local=3).views]
    assert [view[0].size for view in views] == [(224, 224)] * 2 + [(96, 96)] * 3
    assert [view[0].scale for view in views] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 3
    assert [view[4].p for view in views] == [1.0, 0.1, 0.5, 0.5, 0.5]  # blur
    for index, view in enumerate(views):
        names = [type(transform).__name__ for transform in view]
        start = ['RandomResizedCrop', 'RandomHorizontalFlip', 'RandomApply', 'RandomGrayscale']
        last = ['RandomApply'] * (2 if index == 1 else 1)  # blur; solarization of the second view
        assert names == [*start, *last, 'ToTensor', 'Normalize']
        assert view[0].interpolation == T.InterpolationMode.BICUBIC and view[1].p == 0.5
        jitter = view[2].transforms[0]
        strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        assert strengths == ((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1))
        assert view[2].p == 0.8 and view[3].p == 0.2
    assert views[1][5].p == 0.2


def test_plain_crops_are_normalized() -> None:
    white = Image.new('RGB', (300, 200), 'white')
    crops = PlainMultiCrop(num_local=1)(white)
    assert [crop.shape for crop in crops] == [(3, 224, 224), (3, 224, 224), (3, 96, 96)]
    assert crops[2][0].max() <= (1 - 0.485) / 0.229 + 1e-5
