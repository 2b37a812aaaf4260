import math
import random

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader

from dino_mm.datasets.transforms import CropParams, DINOMultiCrop, apply_crop, draw_box

DRAWS = 4000


@pytest.fixture(scope='module')
def drawn() -> list[list[CropParams]]:
    """Parameters of many images' crops with the published settings."""
    rng = np.random.default_rng(0)
    transform = DINOMultiCrop()
    return [transform.draw(rng, 300, 400) for _ in range(DRAWS)]


@pytest.fixture
def photo() -> Image.Image:
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    return small.resize((160, 120), Image.Resampling.BICUBIC)


def rate(crops, condition) -> float:
    return sum(map(condition, crops)) / len(crops)


def views(drawn, first: int, last: int) -> list[CropParams]:
    return [crop for image in drawn for crop in image[first:last]]


def test_two_global_and_eight_local_crops(drawn) -> None:
    assert {tuple(crop.size for crop in image) for image in drawn} == {
        ((224, 224), (224, 224), *[(96, 96)] * 8)
    }


@pytest.mark.parametrize(
    'view, blur, solarize', [((0, 1), 1.0, 0.0), ((1, 2), 0.1, 0.2), ((2, 10), 0.5, 0.0)]
)
def test_published_probabilities(drawn, view, blur, solarize) -> None:
    crops = views(drawn, *view)
    margin = 4 * 0.5 / math.sqrt(len(crops))  # four standard deviations at most
    assert rate(crops, lambda c: c.blur > 0) == pytest.approx(blur, abs=margin)
    assert rate(crops, lambda c: c.solarize) == pytest.approx(solarize, abs=margin)
    assert rate(crops, lambda c: c.flip) == pytest.approx(0.5, abs=margin)
    assert rate(crops, lambda c: bool(c.jitter)) == pytest.approx(0.8, abs=margin)
    assert rate(crops, lambda c: c.gray) == pytest.approx(0.2, abs=margin)


def test_published_ranges(drawn) -> None:
    for view, (low, high) in (((0, 2), (0.4, 1.0)), ((2, 10), (0.05, 0.4))):
        shares = [c.box[2] * c.box[3] / 120000 for c in views(drawn, *view)]
        assert low - 0.01 < min(shares) < low + 0.03 and high - 0.05 < max(shares) < high + 0.01
    ratios = [c.box[3] / c.box[2] for c in views(drawn, 2, 10)]
    assert 0.72 < min(ratios) < 0.77 and 1.3 < max(ratios) < 1.4
    radii = [c.blur for c in views(drawn, 0, 1)]
    assert 0.1 <= min(radii) < 0.12 and 1.98 < max(radii) <= 2.0
    assert np.mean(radii) == pytest.approx(1.05, abs=0.04)
    factors = {i: [] for i in range(4)}
    for crop in views(drawn, 0, 10):
        for adjustment, factor in crop.jitter:
            factors[adjustment].append(factor)
    for adjustment, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
        assert low <= min(factors[adjustment]) < low + 0.01
        assert high - 0.01 < max(factors[adjustment]) <= high


def test_adjustments_come_in_every_order(drawn) -> None:
    orders = {tuple(a for a, _ in c.jitter) for c in views(drawn, 0, 10) if c.jitter}
    assert len(orders) == 24


def test_boxes_are_distributed_as_torchvision_draws_them() -> None:
    rng, image = np.random.default_rng(0), torch.zeros(3, 300, 400)
    ours = np.array([draw_box(rng, 300, 400, (0.3, 1.0), (0.75, 4 / 3)) for _ in range(DRAWS)])
    torch.manual_seed(0)
    theirs = np.array(
        [T.RandomResizedCrop.get_params(image, [0.3, 1.0], [0.75, 4 / 3]) for _ in range(DRAWS)]
    )
    for column in range(4):
        for share in (10, 50, 90):
            gap = np.percentile(ours[:, column], share) - np.percentile(theirs[:, column], share)
            assert abs(gap) < 12, (column, share)


@pytest.mark.parametrize('height, width', [(10, 200), (200, 10), (1, 1), (7, 5)])
def test_extreme_shapes_give_a_box_inside(height, width) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        top, left, h, w = draw_box(rng, height, width, (0.9, 1.0), (0.75, 4 / 3))
        assert top >= 0 and left >= 0 and h > 0 and w > 0
        assert top + h <= height and left + w <= width


def test_a_crop_is_what_torchvision_and_pillow_make_of_it(photo) -> None:
    crop = CropParams(
        box=(10, 20, 60, 80),
        size=(48, 40),
        flip=True,
        jitter=[(3, 0.05), (0, 1.2), (2, 0.9), (1, 0.8)],
        gray=False,
        blur=1.3,
        solarize=True,
    )
    expected = T.functional.resized_crop(
        photo, 10, 20, 60, 80, [48, 40], T.InterpolationMode.BICUBIC
    )
    expected = T.functional.hflip(expected)
    expected = T.functional.adjust_hue(expected, 0.05)
    expected = T.functional.adjust_brightness(expected, 1.2)
    expected = T.functional.adjust_saturation(expected, 0.9)
    expected = T.functional.adjust_contrast(expected, 0.8)
    expected = ImageOps.solarize(expected.filter(ImageFilter.GaussianBlur(1.3)))
    ours = apply_crop(photo, crop, T.InterpolationMode.BICUBIC, 128)
    assert ours.equal(T.functional.pil_to_tensor(expected))
    assert ours.dtype is torch.uint8


def test_gray_crops_are_gray(photo) -> None:
    out = DINOMultiCrop(global_size=32, local_size=16, gray_prob=1.0)(dict(img=photo))['inputs']
    assert all(c[0].equal(c[1]) and c[0].equal(c[2]) for c in out)


def test_mmcv_arrays_are_read_as_bgr(photo) -> None:
    still = dict(
        global_size=32, num_local=0, jitter_prob=0, gray_prob=0, blur_prob=(0, 0, 0), flip_prob=0
    )
    transform = DINOMultiCrop(**still, solarize_prob=(0, 0, 0), global_scale=(1, 1))
    transform.set_epoch(0, seed=0)
    array = np.asarray(photo)[..., ::-1]
    from_array = transform(dict(img=array, sample_idx=0))['inputs'][0]
    assert from_array.equal(transform(dict(img=photo, sample_idx=0))['inputs'][0])


def test_draws_depend_on_seed_epoch_and_sample_alone(photo) -> None:
    def crops(seed, epoch, sample):
        transform = DINOMultiCrop(global_size=16, local_size=8, num_local=1)
        transform.set_epoch(epoch, seed=seed)
        return torch.cat(
            [c.flatten() for c in transform(dict(img=photo, sample_idx=sample))['inputs']]
        )

    first = crops(0, 0, 0)
    assert first.equal(crops(0, 0, 0))
    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not first.equal(crops(*other))


class Repeated(torch.utils.data.Dataset):
    """The same image over and over, without sample index."""

    def __init__(self, transform) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        image = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
        return self.transform(dict(img=image))['inputs'][0]


def seed_as_mmengine(worker_id: int) -> None:
    """MMEngine gives a worker the same seed in every epoch."""
    random.seed(worker_id)
    torch.manual_seed(worker_id)


@pytest.mark.parametrize('persistent', [True, False])
def test_workers_and_epochs_draw_differently_without_epoch(persistent) -> None:
    loader = DataLoader(
        Repeated(DINOMultiCrop(global_size=16, num_local=0)),
        batch_size=4,
        num_workers=2,
        persistent_workers=persistent,
        worker_init_fn=seed_as_mmengine,
    )
    torch.manual_seed(0)
    crops = [tuple(c.flatten().tolist()) for _ in range(2) for batch in loader for c in batch]
    assert len(set(crops)) == 16


class Indexed(Repeated):
    def __getitem__(self, index: int):
        image = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
        return self.transform(dict(img=image, sample_idx=index))['inputs'][0]


def test_persistent_workers_follow_the_epoch() -> None:
    transform = DINOMultiCrop(global_size=16, num_local=0)
    loader = DataLoader(Indexed(transform), batch_size=8, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 0):
        transform.set_epoch(epoch, seed=3)
        seen.append(next(iter(loader)))
    assert seen[0].equal(seen[2])
    assert not seen[0].equal(seen[1])
    here = torch.stack([Indexed(transform)[i] for i in range(8)])  # no worker at all
    assert here.equal(seen[0])
