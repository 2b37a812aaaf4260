import json

import pytest

from dino_mm.testing.benchmark import time_to_accuracy

from ...labeled_images import write_colors
from ...test_configs.leaves import CONFIGS

CONFIG = str(CONFIGS / 'dino_vit-tiny_imagenette_1xb128.py')
SMALL = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'model.backbone.arch.num_layers=1',
    'train_cfg.max_epochs=2',
]


def test_recipes_are_compared_at_equal_time(tmp_path) -> None:
    images = write_colors(tmp_path / 'colors', train=4, val=2)
    plain = ['plain', CONFIG, *SMALL, 'model.objectives=None', 'train_cfg.max_epochs=3']
    result = time_to_accuracy.main(
        [
            *(str(images), str(images), '--size', '48', '--minutes', '1', '--evaluations', '2'),
            *('--work-dir', str(tmp_path / 'runs')),
            *('--recipe', 'ours', CONFIG, *SMALL, '--recipe', *plain),
        ]
    )
    assert set(result['recipes']) == {'ours', 'plain'}
    for history in result['recipes'].values():
        seconds, accuracy = zip(*history, strict=True)
        assert len(history) == 3  # before the run, halfway and at its end
        assert list(seconds) == sorted(seconds) and 0 == seconds[0] < seconds[-1] < 60
        assert all(0 <= percent <= 100 for percent in accuracy)
    written = json.loads((tmp_path / 'runs/time_to_accuracy.json').read_text())
    assert written['recipes'].keys() == result['recipes'].keys()
    assert (tmp_path / 'runs/time_to_accuracy.png').stat().st_size > 1000
    plain_log = next((tmp_path / 'runs/plain').rglob('*.log')).read_text()
    assert 'coding_rate' not in plain_log.partition('step')[2]


@pytest.mark.parametrize('recipe', [['alone'], ['name', CONFIG, 'lr']])
def test_a_recipe_that_says_too_little_is_refused(recipe, capsys) -> None:
    with pytest.raises(SystemExit):
        time_to_accuracy.main(['images', 'labels', '--recipe', *recipe])
    assert 'NAME CONFIG' in capsys.readouterr().err
