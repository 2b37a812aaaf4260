"""One table of the numeric options of registered parts: what lies out of range is refused by name."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dino_mm.datasets import EmbeddedDigits, UnlabelledImageFolder
from dino_mm.datasets.digits import DigitInstances, DigitMasks
from dino_mm.datasets.transforms import DINOMultiCrop, IgnoreLabels
from dino_mm.engine import hooks
from dino_mm.engine.optimizers import LARS, DINOOptimWrapper
from dino_mm.evaluation.metrics import KNNMetric, LinearMetric
from dino_mm.models.necks import LastLayers, SimpleFeaturePyramid
from dino_mm.models.preprocessors import MultiCropDataPreprocessor
from dino_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

RANGE = [(0.5,), (0.5, 0.1), (-0.1, 0.5), (0.5, '1'), 0.5]
SHARE = [(0, 0.5), (0.5, 1.5), (0.5, 0.1)]
CHANCE = [-0.1, 1.1, '0.5', True]
CHANCES = [(0.5, 0.5), (0.5, 0.5, 1.1), 0.5]
COUNT = [0, -1, 1.5, None, '2']
COUNT_OR_NONE = [-1, 1.5, None]
NOT_NEGATIVE = [-0.1, float('nan'), None]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW(nn.Linear(2, 2).parameters(), lr=0.1)


def wrapper(**options) -> DINOOptimWrapper:
    return DINOOptimWrapper(optimizer=optimizer(), **options)


def constructed(optimizer: object = None, **options) -> object:
    cfg = dict(optimizer=optimizer, type='DINOOptimWrapper', **options)
    constructor = dict(type='DINOOptimWrapperConstructor', optim_wrapper_cfg=cfg)
    return OPTIM_WRAPPER_CONSTRUCTORS.build(constructor)(nn.Linear(2, 2))


def lars(**options) -> LARS:
    return LARS(nn.Linear(2, 2).parameters(), **options)


def pyramid(**options) -> SimpleFeaturePyramid:
    return SimpleFeaturePyramid(**dict(in_channels=8) | options)


def folder(**options) -> UnlabelledImageFolder:
    return UnlabelledImageFolder('unread', lazy_init=True, **options)


def digits(**options) -> EmbeddedDigits:
    return EmbeddedDigits(lazy_init=True, **options)


def ignore_labels(**options) -> IgnoreLabels:
    return IgnoreLabels(**dict(ids=[0]) | options)


#: How a part is built, its name in messages, and values out of range by option.
TABLE: list[tuple[Callable, str, dict[str, list]]] = [
    (
        DINOMultiCrop,
        'DINOMultiCrop.',
        dict(
            num_local=COUNT_OR_NONE,
            global_size=[0, 1.5, '32', (32,), (32, 0), (32, 32, 3)],
            local_size=[0, 1.5, '32', (32,), (32, 0)],
            global_scale=SHARE,
            local_scale=SHARE,
            ratio=RANGE,
            flip_prob=CHANCE,
            jitter_prob=CHANCE,
            gray_prob=CHANCE,
            blur_prob=CHANCES,
            solarize_prob=CHANCES,
            brightness=NOT_NEGATIVE,
            contrast=NOT_NEGATIVE,
            saturation=NOT_NEGATIVE,
            hue=[*NOT_NEGATIVE, 0.6],
            blur_radius=RANGE,
            solarize_threshold=[-1, 257, 1.5],
            canvas=COUNT,
            interpolation=['cubic'],
            backend=['gpu'],
        ),
    ),
    (
        MultiCropDataPreprocessor,
        'data_preprocessor.',
        dict(mean=[0.5, ('a',) * 3], std=[(0.2, 0.2), (0.2, 0.0, 0.2), 1.0]),
    ),
    (
        wrapper,
        'optim_wrapper.',
        dict(accumulative_counts=COUNT, clip_grad=[-1, '3', float('inf')], dtype=['half']),
    ),
    (
        constructed,
        'optim_wrapper.',
        dict(optimizer=[None, 'AdamW', dict(type='AdamW'), dict(lr=1.0)]),
    ),
    (
        lambda lr: constructed(dict(type='AdamW', lr=lr)),
        'optim_wrapper.optimizer.',
        dict(lr=[None, -1.0, '1e-3']),
    ),
    (lars, 'LARS.', dict.fromkeys(('lr', 'weight_decay', 'eta'), [-1]) | dict(momentum=[-0.1, 1])),
    (hooks.ReportHook, 'ReportHook.', dict(attention_images=COUNT)),
    (hooks.DeferredRuntimeInfoHook, 'DeferredRuntimeInfoHook.', dict(history=COUNT)),
    (hooks.SegmentationPictureHook, 'SegmentationPictureHook.', dict(num_images=COUNT)),
    (
        digits,
        'EmbeddedDigits.',
        dict(
            scene_size=[3, 32.5],
            digits_per_scene=COUNT,
            scenes_per_digit=COUNT,
            frames=COUNT,
            scene_seed=COUNT_OR_NONE,
        ),
    ),
    (DigitInstances, 'DigitInstances.', dict(digits_per_scene=[1, 2.5])),
    (DigitMasks, 'DigitMasks.', dict(digits_per_scene=[1, 2.5])),
    (folder, 'UnlabelledImageFolder.', dict(extensions=['.jpg', ('jpg',)])),
    (ignore_labels, 'IgnoreLabels.', dict(ids=[0, (256,), (-1,)], ignore_index=[256, -1])),
    (KNNMetric, 'KNNMetric.', dict(ks=[20, (0,), (1.5,)], temperature=[0, -1, '0.07'])),
    (LinearMetric, 'LinearMetric.', dict(weight_decay=[-1, '0.1'], max_iter=COUNT)),
    (LastLayers, 'LastLayers.', dict(num_prefix_tokens=COUNT)),
    (
        pyramid,
        'SimpleFeaturePyramid.',
        dict(in_channels=[3, '8'], out_channels=COUNT, num_outs=[3]),
    ),
]


@pytest.mark.parametrize(
    ('build', 'key', 'value'),
    [
        pytest.param(build, prefix + option, value, id=f'{prefix}{option}={value!r}')
        for build, prefix, options in TABLE
        for option, values in options.items()
        for value in values
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(build, key, value) -> None:
    with pytest.raises(ValueError, match=rf'^{re.escape(key)}\b') as error:
        build(**{key.rpartition('.')[2]: value})
    assert 'got' in str(error.value) or repr(value) in str(error.value)


@pytest.mark.parametrize(
    ('build', 'options'),
    [
        (DINOMultiCrop, dict(num_local=0, global_size=[32, 48], hue=0.5, blur_radius=[0, 0])),
        (
            DINOMultiCrop,
            dict(global_scale=[1, 1], flip_prob=0, saturation=2, solarize_threshold=256),
        ),
        (MultiCropDataPreprocessor, dict(mean=None, std=None)),
        (wrapper, dict(clip_grad=0, accumulative_counts=8)),
        (wrapper, dict(clip_grad=None)),
        (lars, dict(lr=0, momentum=0)),
        (KNNMetric, dict(ks=[1])),
        (LinearMetric, dict(weight_decay=0, max_iter=1)),
    ],
)
def test_the_ends_of_a_range_are_allowed(build, options) -> None:
    build(**options)
