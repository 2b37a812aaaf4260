"""Images as they come: many channels, any range of values, pages."""

import numpy as np
import pytest
import tifffile
import torch
from mmengine.dataset import default_collate
from PIL import Image

from dino_mm.datasets import UnlabelledImageFolder
from dino_mm.datasets.transforms import DINOMultiCrop, LoadImage
from dino_mm.datasets.transforms.functional.bands import channels_first
from dino_mm.datasets.transforms.functional.value_range import to_uint8
from dino_mm.models import MultiCropDataPreprocessor

RAMP = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
RANGES = {
    'fractions': (RAMP, r'value_range, such as \(0, 1\)', (0, 1)),
    'hounsfield': (
        (RAMP * 2000 - 1000).astype(np.int16),
        r'such as \(-1000, 1000\)',
        (-1000, 1000),
    ),
    'twelve bits': ((RAMP * 4095).astype(np.uint16), r'black.*such as \(0, 4095\)', (0, 4095)),
    'large': ((RAMP * 1e6).astype(np.int32), r'such as \(0, 1e\+06\)', (0, 1e6)),
}


@pytest.mark.parametrize('kind', RANGES)
@pytest.mark.parametrize('as_tensor', [False, True])
def test_values_of_unknown_range_are_refused_by_name(tmp_path, kind, as_tensor) -> None:
    values, message, value_range = RANGES[kind]
    path = tmp_path / 'scan.tif'
    tifffile.imwrite(path, values)
    with pytest.raises(ValueError, match=r'scan\.tif.*' + message):
        LoadImage(as_tensor=as_tensor)(dict(img_path=str(path)))
    image = LoadImage(as_tensor=as_tensor, value_range=value_range)(dict(img_path=str(path)))['img']
    levels = image[0].numpy() if as_tensor else np.asarray(image)[..., 0]
    assert np.abs(levels.astype(float) - 255 * RAMP).max() <= 1


def test_ranges_of_arrays() -> None:
    full = np.array([0, 257, 65535], np.uint16)
    assert to_uint8(full).tolist() == [0, 1, 255]
    assert to_uint8(np.array([0, 7, 255], np.uint8)).tolist() == [0, 7, 255]
    assert to_uint8(np.array([-5, 0, np.nan, 5, 99.0]), (0, 10)).tolist() == [0, 0, 0, 128, 255]
    assert to_uint8(np.array([True, False])).tolist() == [255, 0]
    with pytest.warns(UserWarning, match=r'dark\.tif: every value becomes 0 by value_range'):
        to_uint8(RAMP, (5, 6), 'dark.tif')


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match='value_range'):
        LoadImage(value_range=(3, 3))
    with pytest.raises(ValueError, match='value_range'):
        LoadImage(value_range=(3, 2))


def write(path, values: np.ndarray) -> None:
    """(H, W, C) in the format of the path's suffix."""
    if path.suffix == '.npy':
        np.save(path, values)
    elif path.suffix == '.npz':
        np.savez(path, values)
    elif path.suffix == '.png':
        Image.fromarray(values.squeeze()).save(path)
    else:
        tifffile.imwrite(path, values, planarconfig='contig', photometric='minisblack')


@pytest.mark.parametrize(
    'suffix, channels',
    [('.npy', 1), ('.npy', 13), ('.npz', 5), ('.tif', 2), ('.tif', 4), ('.tif', 13), ('.png', 4)],
)
def test_any_number_of_channels(tmp_path, suffix, channels) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 24, channels), np.uint8)
    path = tmp_path / f'bands{suffix}'
    write(path, values)
    image = LoadImage(channels=channels)(dict(img_path=str(path)))['img']
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), values)
    with pytest.raises(ValueError, match=rf'bands\{suffix} has {channels} channels.*in_channels'):
        LoadImage(channels=7)(dict(img_path=str(path)))


def test_channels_of_a_planar_tiff_and_of_arrays_with_channels_first(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 20, 24), np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', values, planarconfig='separate', photometric='minisblack')
    tifffile.imwrite(tmp_path / 'b.tif', values, photometric='minisblack')  # a page for each
    for name in ('a.tif', 'b.tif'):
        image = LoadImage(channels=6)(dict(img_path=str(tmp_path / name)))['img']
        assert np.array_equal(image.numpy(), values)
    assert channels_first(values, 6, 'a').shape == (6, 20, 24)
    with pytest.raises(ValueError, match=r'shape \(1, 6, 20, 24\)'):
        channels_first(values[None], 6, 'a')


def test_gray_and_color_arrays_are_images_too(tmp_path) -> None:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    np.save(tmp_path / 'gray.npy', gray)
    np.save(tmp_path / 'color.npy', np.stack([gray, gray + 1, gray + 2], axis=-1))
    found = UnlabelledImageFolder(str(tmp_path), pipeline=[LoadImage()])
    color, gray_image = (np.asarray(item['img']) for item in found)
    assert (color[..., 2] == gray + 2).all() and (gray_image == gray[..., None]).all()


@pytest.mark.parametrize('channels', [1, 2, 4, 13])
@pytest.mark.parametrize('backend', ['pillow', 'opencv', 'device', 'decode'])
def test_crops_of_any_number_of_channels(backend, channels) -> None:
    image = torch.randint(0, 256, (channels, 40, 48), dtype=torch.uint8)
    always = dict(flip_prob=1.0, jitter_prob=1.0, gray_prob=1.0)
    crop = DINOMultiCrop(
        32, local_size=16, num_local=1, backend=backend, canvas=64,
        blur_prob=(1.0, 1.0, 1.0), solarize_prob=(0.0, 1.0, 0.0), **always,
    )  # fmt: skip
    crop.set_epoch(0, 0)
    batch = default_collate([crop(dict(img=image, sample_idx=3))])
    preprocessor = MultiCropDataPreprocessor([0.0] * channels, [1 / 255] * channels)
    crops = preprocessor(batch)['inputs']
    assert [tuple(x.shape) for x in crops] == [(1, channels, s, s) for s in (32, 32, 16)]
    exact = DINOMultiCrop(
        32, local_size=16, num_local=1, backend='opencv',
        blur_prob=(1.0, 1.0, 1.0), solarize_prob=(0.0, 1.0, 0.0), **always,
    )  # fmt: skip
    exact.set_epoch(0, 0)
    for got, wanted in zip(crops, exact(dict(img=image, sample_idx=3))['inputs'], strict=True):
        # Solarization turns a rounding at its threshold into the whole range.
        assert (got[0] - wanted.float()).abs().median() <= (6 if backend == 'decode' else 2)


def test_channels_differ_from_the_normalization(tmp_path) -> None:
    with pytest.raises(ValueError, match=r'13 channels.*data_preprocessor\.mean has 3'):
        MultiCropDataPreprocessor()(dict(inputs=torch.zeros(1, 13, 8, 8, dtype=torch.uint8)))


def test_pages_of_files_as_images(tmp_path) -> None:
    pages = np.stack([np.full((8, 8), level, np.uint8) for level in (10, 20, 30)])
    tifffile.imwrite(tmp_path / 'pages.tif', pages, photometric='minisblack')
    frames = [Image.new('L', (8, 8), level) for level in (40, 50)]
    frames[0].save(tmp_path / 'moving.gif', save_all=True, append_images=frames[1:])
    first = UnlabelledImageFolder(str(tmp_path), pipeline=[LoadImage()])
    assert [np.asarray(item['img'])[0, 0, 0] for item in first] == [40, 10]
    every = UnlabelledImageFolder(str(tmp_path), pages=True, pipeline=[LoadImage()])
    assert [np.asarray(item['img'])[0, 0, 0] for item in every] == [40, 50, 10, 20, 30]


@pytest.mark.parametrize('suffix', ['.jfif', '.gif', '.avif', '.jp2', '.tga', '.webp', '.bmp'])
@pytest.mark.parametrize('as_tensor', [False, True])
def test_kinds_that_pillow_reads(tmp_path, suffix, as_tensor) -> None:
    Image.new('RGB', (16, 12), (200, 100, 50)).save(tmp_path / f'image{suffix}')
    dataset = UnlabelledImageFolder(str(tmp_path), pipeline=[LoadImage(as_tensor=as_tensor)])
    image = dataset[0]['img']
    pixel = image[:, 5, 5].numpy() if as_tensor else np.asarray(image)[5, 5]
    assert np.abs(pixel.astype(int) - [200, 100, 50]).max() <= 4
