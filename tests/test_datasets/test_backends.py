"""The fast forms of multi-crop against the published operations on PIL images.

Tolerances are in levels of 255. Steps that both forms round alike agree but for single levels that
fall to the other side; HSV with 8 bits a channel turns these into a few, and the resize may clip
overshoots in another order, depending on Pillow's version.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as NF
import torchvision.transforms.functional as F
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import default_collate

from dino_mm.datasets.transforms import CropParams, DINOMultiCrop, LoadImage, apply_crop
from dino_mm.datasets.transforms import multi_crop as multi_crop_module
from dino_mm.datasets.transforms.functional import blur_kernel, encode, opencv
from dino_mm.models.preprocessors import photometric
from dino_mm.registry import MODELS

SMALL = dict(global_size=64, local_size=32, num_local=3)
RAW = dict(mean=(0.0,) * 3, std=(1 / 255,) * 3)  # leaves levels as they are


@pytest.fixture(scope='module')
def photos() -> list[Image.Image]:
    """Smooth colors with edges and fine noise, of several shapes."""
    rng = np.random.default_rng(3)
    out = []
    for height, width in ((120, 160), (200, 90), (64, 64), (150, 151)):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
        image = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
        image[height // 3 : height // 2, width // 4 :] += 50
        image += rng.normal(0, 6, image.shape)
        out.append(Image.fromarray(image.clip(0, 255).astype(np.uint8)))
    return out


@pytest.fixture(scope='module')
def batch_of(photos):
    """Levels of all crops (views x B, 3, h, w) by size, as the model receives them."""

    def make(backend: str, repeats: int = 4, compile: bool = False, **options) -> list[Tensor]:
        transform = DINOMultiCrop(backend=backend, **SMALL | dict(canvas=224) | options)
        transform.set_epoch(0, seed=0)
        items = [dict(img=photo, sample_idx=i) for i, photo in enumerate(photos * repeats)]
        preprocessor = MODELS.build(dict(type='MultiCropDataPreprocessor', **RAW, compile=compile))
        return preprocessor(default_collate([transform(item) for item in items]))['inputs']

    return make


def gaps(first: list[Tensor], second: list[Tensor]) -> Tensor:
    return torch.cat([(a - b).flatten() for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize(
    'backend, mean, bias, worst',
    [('opencv', 1.0, 0.2, 2), ('device', 0.4, 0.03, 1.5), ('decode', 0.5, 0.03, 1.5)],
)
def test_same_crops_as_pillow_within_rounding(batch_of, backend, mean, bias, worst) -> None:
    exact, ours = batch_of('pillow'), batch_of(backend)
    assert [c.shape for c in ours] == [c.shape for c in exact]
    gap = gaps(ours, exact)
    assert gap.abs().mean() < mean and gap.mean().abs() < bias
    assert (gap.abs() <= 6).float().mean() > 0.99
    crops = zip(ours, exact, strict=True)
    assert max((a - b).abs().mean((1, 2, 3)).max() for a, b in crops) < worst


@pytest.mark.parametrize('backend', ['opencv', 'device', 'decode'])
def test_crops_may_be_wider_than_high(batch_of, backend) -> None:
    sizes = dict(global_size=(32, 64), local_size=(32, 48))
    exact, ours = batch_of('pillow', **sizes), batch_of(backend, **sizes)
    shapes = [(16, 3, 32, 64)] * 2 + [(16, 3, 32, 48)] * 3
    assert [c.shape for c in ours] == [c.shape for c in exact] == shapes
    assert gaps(ours, exact).abs().mean() < 1


def test_without_colors_the_resize_alone_differs(batch_of) -> None:
    still = dict(
        jitter_prob=0, gray_prob=0, blur_prob=(0, 0, 0), solarize_prob=(0, 0, 0), flip_prob=0.5
    )
    exact, device = batch_of('pillow', **still), batch_of('device', **still)
    assert device[0].equal(batch_of('opencv', **still)[0])
    assert (gaps(device, exact).abs() <= 1).float().mean() > 0.99
    decoded = batch_of('decode', **still)  # no rounding between its two passes
    assert (gaps(decoded, device).abs() <= 1).float().mean() > 0.99


def params(**changes) -> CropParams:
    crop = dict(box=(0, 0, 64, 64), size=(64, 64), flip=False, jitter=[], gray=False, blur=0.0)
    return CropParams(**crop | dict(solarize=False) | changes)


STEPS = {
    'nothing': params(),
    'flip': params(flip=True),
    'brightness': params(jitter=[(0, 1.37)]),
    'darker': params(jitter=[(0, 0.6)]),
    'contrast': params(jitter=[(1, 0.63)]),
    'saturation': params(jitter=[(2, 1.2)]),
    'hue': params(jitter=[(3, 0.083)]),
    'hue back': params(jitter=[(3, -0.1)]),
    'order 1': params(jitter=[(3, 0.05), (1, 1.4), (0, 0.7), (2, 0.8)]),
    'order 2': params(jitter=[(0, 0.7), (2, 0.8), (3, 0.05), (1, 1.4)]),
    'gray': params(gray=True),
    'small blur': params(blur=0.3),
    'blur': params(blur=1.05),
    'large blur': params(blur=2.0),
    'solarize': params(solarize=True),
    'all': params(flip=True, jitter=[(2, 0.9), (3, -0.05)], gray=True, blur=1.5, solarize=True),
}
#: Mean difference allowed to OpenCV's and to the batched form. OpenCV's hue has another 8 bits;
#: Pillow rounds six times in a blur.
TOLERANCE = dict.fromkeys(('hue', 'hue back', 'order 1', 'order 2'), (1.2, 0.01))
TOLERANCE |= {'small blur': (1, 1), 'blur': (0.4, 0.4), 'large blur': (0.4, 0.4), 'all': (1, 0.4)}


@pytest.mark.parametrize('name', STEPS)
def test_each_step(photos, name) -> None:
    crop, image = STEPS[name], photos[2]
    exact = apply_crop(image, crop, F.InterpolationMode.BICUBIC, 128).float()
    tensor = F.pil_to_tensor(image)
    in_worker = opencv.photometric(tensor, crop, 128)
    # Its neighbor in the batch has other parameters.
    encoded = encode([params(jitter=[(3, 0.3)], flip=True), crop], 128, 2.0)
    on_device = photometric.photometric(torch.stack([tensor, tensor]), encoded)[1]
    assert in_worker.dtype is torch.uint8 and in_worker.is_contiguous()
    for ours, tolerance in zip(
        (in_worker, on_device), TOLERANCE.get(name, (0.1, 1e-3)), strict=True
    ):
        assert (ours - exact).abs().mean() <= tolerance
    assert on_device.equal(on_device.round())


def test_hue_is_pillows_hsv_for_every_color() -> None:
    levels = torch.arange(0, 256, 15)
    colors = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 18, -1).byte()
    for factor in (-0.5, -0.1, 0.07, 0.5):
        exact = F.pil_to_tensor(F.adjust_hue(F.to_pil_image(colors), factor))
        ours = photometric.adjust_hue(colors[None].float(), torch.tensor([factor]))[0]
        gap = (ours - exact).abs()
        assert (gap > 1).float().mean() < 0.01  # hue cut off to the neighboring 255th
        assert gap.max() <= 6


@pytest.mark.parametrize('radius', [0.1, 0.7, 1.0, 1.41, 1.42, 2.0, 3.1])
def test_blur_kernel_is_pillows(radius) -> None:
    point = np.zeros((41, 41), np.uint8)
    point[:, 20] = 255  # a line: the other direction changes nothing
    exact = np.asarray(Image.fromarray(point).filter(ImageFilter.GaussianBlur(radius)))[20]
    kernel = blur_kernel(radius)
    assert kernel.sum() == pytest.approx(1) and len(kernel) % 2 == 1
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel * offsets**2).sum() == pytest.approx(radius**2)
    middle = exact[20 + offsets[0] : 21 + offsets[-1]]
    assert np.abs(255 * kernel - middle).max() < 2 and exact.sum() - middle.sum() < 6


@pytest.mark.parametrize('size', [(24, 24), (96, 96), (30, 72)])
def test_batched_resize_is_the_antialiased_one(size) -> None:
    """Shrinking and enlarging, against PyTorch's on the boxes cut out."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 70, 80), dtype=torch.uint8)
    boxes = torch.tensor([[[3, 5, 60, 33], [10, 0, 21, 80]], [[0, 0, 70, 80], [69, 79, 1, 1]]])
    ours = photometric.crop_resize(images, boxes, size).view(2, 2, 3, *size)  # (V, B, ...)
    for image in range(2):
        for view in range(2):
            top, left, height, width = boxes[image, view].tolist()
            box = images[image : image + 1, :, top : top + height, left : left + width].double()
            expected = NF.interpolate(box, size, mode='bicubic', antialias=True)[0]
            gap = (ours[view, image] - expected.clamp(0, 255)).abs().max()
            assert gap / 255 < 1e-5


def test_large_images_are_scaled_to_the_canvas(photos) -> None:
    transform = DINOMultiCrop(backend='decode', **SMALL, canvas=100)
    transform.set_epoch(0, seed=0)
    out = transform(dict(img=photos[1], sample_idx=0))  # 200 x 90
    assert out['inputs'].shape == (3, 100, 100) and out['inputs'][:, :, 45:].sum() == 0
    drawn = transform.draw(transform._rng(dict(sample_idx=0)), 200, 90)
    expected = torch.tensor([crop.box for crop in drawn]) / 2
    torch.testing.assert_close(out['boxes'], expected)


def test_draws_are_distributed_alike(batch_of) -> None:
    """Brightness, contrast and colorfulness over many draws, not crop by crop."""

    def statistics(seed: int, backend: str) -> Tensor:
        transform = DINOMultiCrop(backend=backend, global_size=24, num_local=0)
        transform.set_epoch(0, seed=seed)
        image = Image.fromarray(
            np.random.default_rng(5).integers(0, 256, (6, 6, 3), np.uint8)
        ).resize((48, 48), Image.Resampling.BICUBIC)
        items = [transform(dict(img=image, sample_idx=i)) for i in range(300)]
        preprocessor = MODELS.build(dict(type='MultiCropDataPreprocessor', **RAW))
        crops = torch.cat(preprocessor(default_collate(items))['inputs'])
        figures = [crops.mean((1, 2, 3)), crops.std((1, 2, 3)), crops.std(1).mean((1, 2))]
        shares = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
        return torch.stack([figure.quantile(shares) for figure in figures])

    exact, again = statistics(0, 'pillow'), statistics(1, 'pillow')
    for backend in ('opencv', 'device'):
        ours = statistics(2, backend)
        # As far from the exact transform as that is from itself with another seed.
        assert (ours - exact).abs().max() < 2 * (again - exact).abs().max() + 1


def test_compiled_adjustments_are_the_same(batch_of, monkeypatch) -> None:
    """Without a compiler: that the four are wrapped and used is all that is asked here."""
    wrapped = []

    def compile(function, **options):
        assert options == dict(dynamic=True)
        return lambda *arguments: (wrapped.append(function), function(*arguments))[1]

    plain = batch_of('device', repeats=1)
    monkeypatch.setattr(torch, 'compile', compile)
    assert all(a.equal(b) for a, b in zip(plain, batch_of('device', 1, True), strict=True))
    assert set(wrapped) == set(photometric.ADJUST)


def test_autocast_does_not_reach_the_augmentation(batch_of) -> None:
    plain = batch_of('decode', repeats=1)
    with torch.autocast('cpu', torch.bfloat16):
        under = batch_of('decode', repeats=1)
    assert all(a.equal(b) for a, b in zip(plain, under, strict=True))


@pytest.mark.parametrize('device, backend', [('cpu', 'opencv'), ('cuda', 'device')])
def test_auto_follows_the_device(monkeypatch, device, backend) -> None:
    monkeypatch.setattr(multi_crop_module, 'get_device', lambda: device)
    assert DINOMultiCrop(backend='auto').backend == backend


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(backend='kornia'), 'backend.*kornia'),
        (dict(backend='device', interpolation='nearest'), 'nearest.*pillow'),
        (dict(backend='decode', interpolation='bilinear'), 'bilinear.*pillow'),
    ],
)
def test_wrong_backends_are_named(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        DINOMultiCrop(**options)


@pytest.mark.parametrize('quality, mode', [(60, 'RGB'), (95, 'RGB'), (80, 'L'), (80, 'CMYK')])
def test_fast_decoder_gives_pillows_values(tmp_path, photos, quality, mode) -> None:
    path = str(tmp_path / 'image.jpg')
    photos[0].convert(mode).save(path, quality=quality)
    exact = LoadImage()(dict(img_path=path))
    ours = LoadImage(as_tensor=True)(dict(img_path=path))
    assert ours['img'].equal(F.pil_to_tensor(exact['img']))
    assert ours['ori_shape'] == exact['ori_shape'] == ours['img_shape'] == (120, 160)
    out = DINOMultiCrop(backend='opencv', **SMALL)(ours)['inputs']
    assert [c.shape[-1] for c in out] == [64, 64, 32, 32, 32]


def test_fast_decoder_leaves_the_rest_to_pillow(tmp_path, photos) -> None:
    path = tmp_path / 'image.png'
    photos[0].convert('P').save(path)
    image = LoadImage(as_tensor=True)(dict(img_path=str(path)))['img']
    assert image.shape == (3, 120, 160) and image.dtype is torch.uint8
    held = LoadImage(as_tensor=True)(dict(img=photos[0]))['img']
    assert held.equal(F.pil_to_tensor(photos[0]))
    photos[0].save(tmp_path / 'half.jpg')
    content = (tmp_path / 'half.jpg').read_bytes()
    (tmp_path / 'half.jpg').write_bytes(content[: len(content) // 2])
    load = LoadImage(as_tensor=True)
    with pytest.raises(OSError, match=r'(?s)half\.jpg.*ignore_broken=True'):
        load(dict(img_path=str(tmp_path / 'half.jpg')))
    with pytest.raises(FileNotFoundError, match=r'gone\.jpg.*data_root'):
        load(dict(img_path=str(tmp_path / 'gone.jpg')))
    with pytest.warns(UserWarning, match=r'half\.jpg'):
        assert (
            LoadImage(ignore_broken=True, as_tensor=True)(dict(img_path=str(tmp_path / 'half.jpg')))
            is None
        )


def test_blur_on_the_device_needs_no_flag_of_cudnn(monkeypatch) -> None:
    """A user may have frozen them (``torch.backends.disable_global_flags``)."""

    def frozen(**_):
        raise RuntimeError('not allowed to set torch.backends.cudnn flags')

    monkeypatch.setattr(torch.backends.cudnn, 'flags', frozen)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 20, 14)).float()
    kernels = torch.zeros(3, 13)
    for row, radius in zip(kernels, (0.4, 1.2, 2.0), strict=True):
        weights = torch.from_numpy(blur_kernel(radius)).float()
        margin = (13 - len(weights)) // 2
        row[margin : 13 - margin] = weights
    ours = photometric.blur(images, kernels)
    for image, kernel, blurred in zip(images, kernels, ours, strict=True):
        padded = NF.pad(image[:, None], [6] * 4, mode='replicate')  # channels as a batch
        rows = NF.conv2d(padded, kernel.view(1, 1, 13, 1))
        expected = NF.conv2d(rows, kernel.view(1, 1, 1, 13))[:, 0]
        assert (blurred - expected).abs().max() <= 0.5 + 1e-3  # rounded to whole levels
