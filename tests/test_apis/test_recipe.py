"""What is chosen for which images, machine and time."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from mmengine.config import Config

from dino_mm.apis.recipe import Choice, Recipe, Start, choose
from dino_mm.apis.recipe_file import config_text, write_config
from dino_mm.datasets.survey import Survey
from dino_mm.utils.machine import Machine

DOCS = Path(__file__).parents[2] / 'docs' / 'pretraining.md'
LAPTOP = Machine(cores=2, memory=24, dtype='bfloat16')
GPU = Machine(cores=16, memory=128, dtype='bfloat16', gpu='a GPU', gpu_memory=80)
COUNTS = (300, 1_000, 3_000, 10_000, 100_000, 200_000, 1_000_000, 10_000_000)


def row(count: int, machine: Machine, hours: float) -> str:
    """A line of the tables in docs/pretraining.md."""
    recipe = choose(Survey(count, side=375), machine, hours)
    keys = dict(recipe_keys(recipe))
    small = 'dino_vit-tiny_conv.py' in recipe.bases[0]
    objective = small or 'model.objectives.coding_rate.type' in keys
    seen = f'{recipe.epochs}'
    if 'train_dataloader.dataset.most' in keys:
        seen = f'1 of {keys["train_dataloader.dataset.most"]:,} of them'
    return (
        f'| {count:,} | {recipe.network} | {keys["model.head.out_dim"]:,} | {recipe.batch} | {seen} '
        f'| {keys["model.loss.teacher_temp"]} | {keys["default_hooks.ema.momentum"]} '
        f'| {keys["param_scheduler.warmup"]} | {"yes" if objective else "no"} |'
    )


def recipe_keys(recipe: Recipe) -> list[tuple[str, object]]:
    return [(choice.key, choice.value) for choice in recipe.choices]


@pytest.mark.parametrize('machine, hours', [(LAPTOP, 1), (GPU, 12)])
def test_the_tables_of_the_documentation(machine, hours) -> None:
    lines = DOCS.read_text().splitlines()
    for count in COUNTS:
        assert row(count, machine, hours) in lines


@pytest.mark.parametrize('machine', [LAPTOP, GPU])
def test_choices_are_monotone_in_the_number_of_images(machine) -> None:
    counts = [1, 2, 16, 299, 300, *range(400, 20_000, 700), *COUNTS[4:], 199_999, 200_001]
    recipes = [choose(Survey(count, side=375), machine, 1.0) for count in sorted(counts)]
    for key, sign in {
        'model.head.out_dim': 1,
        'model.loss.teacher_temp': 1,
        'train_dataloader.batch_size': 1,
        'train_cfg.max_epochs': -1,
    }.items():
        values = [recipe.value(key) for recipe in recipes]
        assert all(sign * a <= sign * b for a, b in pairwise(values)), (key, values)


@pytest.mark.parametrize('hours', [0.1, 1, 10, 100])
def test_more_time_gives_more(hours) -> None:
    survey = Survey(5000, side=375)
    short, long = choose(survey, LAPTOP, hours), choose(survey, LAPTOP, 3 * hours)
    widths = [recipe.value('model.backbone.arch.embed_dims') for recipe in (short, long)]
    assert widths[0] < widths[1] or (widths[0] == widths[1] and short.epochs <= long.epochs)
    assert max(short.seconds / hours, long.seconds / hours / 3) <= 3600 * 1.001


def test_the_published_recipe_from_200_000_images_on() -> None:
    below, above = (choose(Survey(n, side=375), GPU, 48) for n in (199_999, 200_000))
    assert below.value('model.objectives.coding_rate.type') == 'CodingRateLoss'
    assert 'schedules/dino_short.py' in below.bases
    assert 'schedules/dino_adamw_100e.py' in above.bases
    with pytest.raises(KeyError):
        above.value('model.objectives.coding_rate.type')


def test_it_fits_into_a_quarter_of_the_memory() -> None:
    small = Machine(cores=64, memory=16, dtype='float32')
    survey = Survey(50_000, side=375)
    recipe = choose(survey, small, 100)
    assert recipe.memory <= 16 / 4 and recipe.accumulation > 1
    assert recipe.batch * recipe.accumulation == choose(survey, LAPTOP, 1).batch
    assert recipe.value('optim_wrapper.accumulative_counts') == recipe.accumulation


def test_crops_are_no_larger_than_the_images() -> None:
    expected = {375: (48, 24, 4), 47: (40, 24, 2), 32: (32, 24, 2), 20: (32, 24, 2)}
    for side, crops in expected.items():
        recipe = choose(Survey(3000, side=side), LAPTOP, 0.3)
        keys = ('global_size', 'local_size', 'num_local')
        found = [recipe.value(f'train_dataloader.dataset.pipeline.1.{key}') for key in keys]
        assert tuple(found) == crops


def test_gray_images_get_no_color_jitter() -> None:
    gray = choose(Survey(3000, gray=True), LAPTOP, 1)
    assert gray.value('train_dataloader.dataset.pipeline.1.hue') == 0


@pytest.mark.parametrize(
    'count, machine, hours, message',
    [
        (1, LAPTOP, 1, 'One image'),
        (299, LAPTOP, 1, '299 images are few.*--init'),
        (300, LAPTOP, 1, None),
        (100_000, LAPTOP, 1, 'each image about [0-9.]+ times.*a GPU or more hours'),
        (1_000_000, LAPTOP, 1, '% of the images once.*a GPU or more hours'),
        (10_000_000, GPU, 12, 'each image about [0-9.]+ times.*give more hours'),
    ],
)
def test_what_to_expect_is_said(count, machine, hours, message) -> None:
    notes = ' '.join(choose(Survey(count, side=375), machine, hours).notes)
    assert not notes if message is None else re.search(message, notes)


START = Start('/x.pth', dict(type='dino_mm.VisionTransformer', arch='small'), 384, 12, 6, 16, 224)


def test_going_on_from_weights_is_gentle_and_short() -> None:
    survey = Survey(3000, side=375)
    anew, on = choose(survey, GPU, 12), choose(survey, GPU, 12, start=START)
    assert on.epochs < anew.epochs / 4
    assert on.value('model.backbone')['init_cfg']['checkpoint'] == '/x.pth'
    assert on.value('model.head.in_dim') == 384
    assert on.value('default_hooks.freeze_backbone.type') == 'FreezeBackboneHook'
    assert on.value('optim_wrapper.optimizer.lr') == 1e-4
    assert on.value('default_hooks.ema.momentum') >= 0.99
    # Without a GPU the same network sees smaller crops.
    size = 'train_dataloader.dataset.pipeline.1.global_size'
    assert choose(survey, LAPTOP, 1, start=START).value(size) < on.value(size) == 224


def test_a_small_network_goes_on_at_the_ordinary_rate() -> None:
    start = replace(START, width=128, layers=4, heads=4, patch=8, size=48)
    recipe = choose(Survey(3000, side=375), LAPTOP, 0.1, start=start)
    keys = {choice.key for choice in recipe.choices}
    assert not keys & {
        'optim_wrapper.optimizer.lr',
        'optim_wrapper.paramwise_cfg.layer_decay_rate',
    }
    assert recipe.value('default_hooks.ema.momentum') == 0.98
    assert recipe.value('default_hooks.freeze_backbone.epochs') == '10%'


def test_a_config_with_reasons(tmp_path) -> None:
    recipe = choose(Survey(3000, side=375), LAPTOP, 1, 'some folder')
    path = tmp_path / 'recipe.py'
    write_config(recipe, 'A title.', path)
    text = path.read_text()
    assert text.startswith('"""A title.')
    assert all(choice.why in text for choice in recipe.choices)
    assert max(map(len, text.splitlines())) <= 120
    cfg = Config.fromfile(path)
    for key, value in recipe_keys(recipe):
        place = cfg
        for part in key.split('.'):
            place = place[int(part) if part.isdigit() else part]
        assert place == value or list(place) == list(value), key
    assert cfg.model.backbone.stem == 'conv'  # inherited


def test_lists_in_the_text_of_a_config() -> None:
    choices = [Choice('a.0.b', 1, 'why'), Choice('a.1.b', (2, 3)), Choice('c', 'text', 'x' * 100)]
    recipe = Recipe('n', [], 1, 1, 1, 1, 1.0, 1.0, choices)
    text = config_text(recipe, 'T').split('\n\n', 2)[2]
    assert text.splitlines() == [
        'a = [',
        '    dict(',
        '        b=1,  # why',
        '    ),',
        '    dict(',
        '        b=(2, 3),',
        '    ),',
        ']',
        '',
        f'# {"x" * 100}',
        "c = 'text'",
    ]
