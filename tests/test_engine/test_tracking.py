"""Curves, verdicts and pictures reach the trackers that a config names."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from dino_mm.engine import tracking
from dino_mm.engine.tracking import TrackingVisualizer, track_pictures, track_text

LOCAL = dict(type='LocalVisBackend')
#: Packages with the interface of W&B that write down what they are told.
FAKE = """
import json
class Image:
    def __init__(self, value): self.value = value
class Run:
    config = {}
def note(*what):
    with open(%r, 'a') as file: file.write(json.dumps(what, default=lambda x: list(x.value.shape)) + '\\n')
def init(**kwargs):
    note('init', kwargs)
    return sys.modules[__name__]
def log(metrics, step=None, commit=None): note('log', metrics, step)
def define_metric(**kwargs): note('define', kwargs)
def finish(): note('finish')
join = finish
class config:
    update = staticmethod(lambda values, **kwargs: note('config', values))
class run:
    log_code = staticmethod(lambda **kwargs: None)
import sys
"""


def visualizer(folder: Path, log_to, *backends: dict) -> TrackingVisualizer:
    return TrackingVisualizer(
        'tracked',
        log_to=log_to,
        vis_backends=[dict(LOCAL), *backends],
        save_dir=str(folder / 'run' / 'start'),
    )


def picture(folder: Path) -> dict[str, str]:
    """Files of a report: a picture and a checkpoint."""
    Image.new('RGB', (8, 6), (200, 100, 0)).save(folder / 'seen.png')
    return dict(seen=str(folder / 'seen.png'), backbone=str(folder / 'backbone.pth'))


def tell(to: TrackingVisualizer, folder: Path) -> None:
    """What hooks tell in a run."""
    to.add_config(Config(dict(work_dir=str(folder), model=dict(width=3))))
    for step in (1, 2):
        to.add_scalars(dict(loss=np.float64(3.5 / step), iter=step), step=step)
    track_text(to, 'verdict', 'learning (well)', 2)
    track_pictures(to, picture(folder), 2)
    to.close()


def test_a_run_in_tensorboard(make_runner) -> None:
    """By default, with the verdict and the pictures of the report."""
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    runner = make_runner(
        visualizer=dict(type='TrackingVisualizer', vis_backends=[dict(LOCAL)]),
        log_processor=dict(type='PlainLogProcessor'),
        **{
            'default_hooks.logger': dict(type='TimedLoggerHook', interval=1),
            'default_hooks.verdict': dict(type='VerdictHook', start=0),
            'default_hooks.report': dict(type='ReportHook', attention_images=2),
        },
    )
    runner.train()
    found = events.EventAccumulator(str(Path(runner.log_dir) / 'vis_data')).Reload()
    losses = found.Scalars('loss')
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    lines = (Path(runner.log_dir) / 'vis_data/scalars.json').read_text().splitlines()
    written = [json.loads(line) for line in lines]
    assert [e.value for e in losses] == pytest.approx([row['loss'] for row in written])
    assert [event.step for event in found.Images('neighbors.png')] == [0, 6]
    assert {'attention.png', 'curves.png', 'neighbors.png'} <= set(found.Tags()['images'])
    (verdicts,) = [tag for tag in found.Tags()['tensors'] if 'verdict' in tag]
    text = found.Tensors(verdicts)[-1].tensor_proto.string_val[0].decode()
    assert text == runner.message_hub.get_info('verdict')


def test_by_default_tensorboard_is_offered_or_missed(tmp_path, monkeypatch, capsys) -> None:
    assert 'TensorboardVisBackend' in visualizer(tmp_path, None)._vis_backends
    assert f'tensorboard --logdir {tmp_path}/run' in capsys.readouterr().out
    # not where a config names trackers itself, or none
    wandb = dict(type='WandbVisBackend', init_kwargs=dict(mode='offline'))
    assert [*visualizer(tmp_path, None, wandb)._vis_backends] == [
        'LocalVisBackend',
        'WandbVisBackend',
    ]
    assert [*visualizer(tmp_path, [])._vis_backends] == ['LocalVisBackend']
    capsys.readouterr()
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert [*visualizer(tmp_path, None)._vis_backends] == ['LocalVisBackend']
    assert capsys.readouterr().out.count('pip install tensorboard') == 1


@pytest.mark.parametrize('library', tracking.TRACKERS)
def test_a_tracker_that_is_missing_is_an_error_with_its_mend(
    library, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=f'visualizer.log_to asks for {library}.*: pip install'):
        visualizer(tmp_path, library)


def test_an_unknown_tracker_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match='visualizer.log_to: .tensorbord. is none of tensorboard,'):
        visualizer(tmp_path, 'tensorbord')


@pytest.mark.parametrize('library', ['wandb', 'trackio'])
def test_libraries_like_wandb(library, tmp_path, monkeypatch) -> None:
    said = tmp_path / 'said.jsonl'
    (tmp_path / f'{library}.py').write_text(FAKE % str(said))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, library, raising=False)
    tell(visualizer(tmp_path, [library]), tmp_path)
    monkeypatch.delitem(sys.modules, library)
    calls = [json.loads(line) for line in said.read_text().splitlines()]
    kinds = [call[0] for call in calls]
    assert kinds.count('init') == kinds.count('finish') == 1 and kinds[-1] == 'finish'
    started = next(call[1] for call in calls if call[0] == 'init')
    assert (started['project'], started['name']) == ('dino_mm', 'run start')
    configs = [call[1] for call in calls if call[0] == 'config'] + [started.get('config')]
    assert any(config and config['model'] == dict(width=3) for config in configs)
    logged = [call[1] for call in calls if call[0] == 'log']
    assert [row['loss'] for row in logged if 'loss' in row] == [3.5, 1.75]
    assert [row['verdict'] for row in logged if 'verdict' in row] == ['learning (well)']
    assert [row['seen.png'] for row in logged if 'seen.png' in row] == [[6, 8, 3]]
    if library == 'trackio':
        assert [call[2] for call in calls if call[0] == 'log'] == [1, 2, 2, 2]
    else:
        assert ['define', dict(name='*', step_metric='iter')] in calls


def test_mlflow(tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip('mlflow')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    monkeypatch.chdir(tmp_path)
    tell(visualizer(tmp_path, 'mlflow'), tmp_path)
    client = mlflow.MlflowClient(f'sqlite:///{tmp_path}/run/mlflow.db')
    experiment = client.get_experiment_by_name('dino_mm')
    (run,) = client.search_runs([experiment.experiment_id])
    assert [m.value for m in client.get_metric_history(run.info.run_id, 'loss')] == [3.5, 1.75]
    assert run.data.params['model.width'] == '3' and run.info.run_name == 'run start'
    assert run.data.tags['verdict'] == 'learning (well)'
    assert {file.name for file in (tmp_path / 'run/mlflow').rglob('*') if file.is_file()} == {
        'seen.png',
        'config.py',
    }
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://server:5000')
    told = tracking.mlflow(tracking.Run(tmp_path, 'x'))
    assert told['tracking_uri'] == 'http://server:5000' and 'artifact_location' not in told
