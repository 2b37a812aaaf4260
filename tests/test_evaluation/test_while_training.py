"""The base config that evaluates labeled images while any recipe trains."""

from pathlib import Path

import pytest
from mmengine.config import Config

from dino_mm.evaluation.loops import SpacedValLoop

from ..labeled_images import write_colors
from ..test_configs.leaves import CONFIGS

LABELS = str(CONFIGS / '_base_/evaluation/labels.py')


@pytest.fixture
def labels(tmp_path) -> dict:
    """The base config with a folder, as a person writes it; in this process alone."""
    images = write_colors(tmp_path / 'colors', train=4, val=2)
    file = tmp_path / 'own.py'
    file.write_text(
        f"_base_ = ['{LABELS}']\n"
        f"val_dataloader = dict(num_workers=0, dataset=dict(data_root='{images}', size=32))\n"
    )
    return Config.fromfile(file)._cfg_dict.to_dict()


@pytest.mark.parametrize('recipe', ['dino_vit-s16_8xb64.py', 'dino_vit-tiny_imagenette_1xb128.py'])
def test_one_line_adds_it_to_a_recipe(recipe, tmp_path) -> None:
    file = tmp_path / 'own.py'
    file.write_text(
        f"_base_ = ['{CONFIGS / recipe}', '{LABELS}']\n"
        "val_dataloader = dict(dataset=dict(data_root='FOLDER'))\n"
    )
    cfg = Config.fromfile(file)
    assert cfg.val_dataloader.dataset.data_root == 'FOLDER'
    assert cfg.val_dataloader.dataset.bank.part == 'bank'
    assert cfg.default_hooks.checkpoint.save_best == cfg.default_hooks.report.get(
        'metric', 'knn/k20_top1'
    )


@pytest.mark.parametrize('unit', ['epochs', 'iterations'])
def test_the_best_checkpoint_is_kept_and_the_run_stops_early(
    make_runner, labels, tmp_path, unit
) -> None:
    """Colors are told by an untrained network, so that no evaluation is better than the first."""
    loop = dict(type='ResumableTrainLoop', max_epochs=10)
    if unit == 'iterations':
        loop = dict(
            _delete_=True, type='IterBasedTrainLoop', max_iters=30, val_interval=3
        )  # 3 are an epoch
    stop = dict(type='EarlyStoppingHook', monitor='knn/k20_top1', patience=2)
    best = dict(
        type='CheckpointHook',
        interval=-1,
        save_best='knn/k20_top1',
        by_epoch=unit == 'epochs',
    )
    runner = make_runner(
        **labels,
        custom_hooks=[stop],
        train_cfg=loop,
        **{
            'default_hooks.checkpoint': best,
            'default_hooks.report': dict(type='ReportHook', attention_images=2),
        },
    )
    runner.train()
    assert (runner.iter, runner.max_iters) == (9, 30)
    first = {'epochs': 'epoch_1', 'iterations': 'iter_3'}[unit]
    found = [path.name for path in (tmp_path / 'work').glob('best*')]
    assert found == [f'best_knn_k20_top1_{first}.pth']
    scalars = runner.message_hub.log_scalars
    # before training, and three times during it
    assert scalars['val/knn/k20_top1'].data[0].tolist() == [100] * 4
    assert scalars['val/linear/top1'].data[0].tolist() == [100] * 4


@pytest.mark.parametrize(
    'evaluations, expected',
    [(1, [0, 30]), (3, [0, 12, 21, 30]), (10, [0, *range(3, 31, 3)]), (99, [0, *range(3, 31, 3)])],
)
def test_evaluations_are_spread_over_the_run(make_runner, labels, evaluations, expected) -> None:
    at = []

    class Noting(SpacedValLoop):
        def run(self) -> dict:
            metrics = super().run()
            if metrics:
                at.append(self.runner.iter)
            return metrics

    labels['val_cfg'] = dict(type=Noting, evaluations=evaluations)
    runner = make_runner(
        **labels,
        train_cfg=dict(max_epochs=10),
        **{'default_hooks.report': dict(type='ReportHook', attention_images=2)},
    )
    runner.train()
    assert at == expected


def test_a_resumed_run_goes_on_with_its_evaluations(make_runner, labels) -> None:
    runner = make_runner(**labels | dict(val_cfg=dict(type='SpacedValLoop', evaluations=2)))
    runner.train_loop._iter = 4
    runner.message_hub.update_info('latest_evaluation', 3)
    assert runner.max_iters == 6 and runner.val_loop.run() == {}
    runner.train_loop._iter = 6
    assert runner.val_loop.run()['knn/k20_top1'] == 100
    with pytest.raises(ValueError, match=r'val_cfg\.evaluations must be a whole number'):
        SpacedValLoop(evaluations=0)


def test_the_folder_is_asked_for(make_runner, labels) -> None:
    labels['val_dataloader']['dataset']['data_root'] = 'nowhere'
    runner = make_runner(**labels)
    with pytest.raises(FileNotFoundError, match=r"'nowhere' .*val_dataloader\.dataset\.data_root"):
        assert runner.val_loop
    assert not Path('nowhere').exists()
