"""Detection configs by mmdet's own means: inference on one's own images, tools, augmentation."""

import os
import pickle
import runpy
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import mmcv
import pytest
import torch
from mmengine.config import Config

from dino_mm.apis.train import build_runner

from .leaves import CONFIGS, leaves
from .toy_detection import (
    IMAGES,
    Predictions,
    assert_inside,
    box,
    shrink_detection,
    write_images,
)

pytest.importorskip('mmdet')


def first_of_every(kind: Callable[[Path], tuple]) -> list[Path]:
    return sorted({kind(path): path for path in reversed(leaves('detection'))}.values())


def detector(path: Path) -> str:
    """Names of configs are DETECTOR_BACKBONE_..._DATA."""
    return path.stem.split('_')[0]


def data(path: Path) -> str:
    return path.stem.split('_')[-1]


#: One config per detector and pipeline, of which a tiny backbone has its own.
PIPELINES = first_of_every(lambda path: (detector(path), data(path), 'tiny' in path.stem))
#: One config per detector and kind of data set.
DETECTORS = first_of_every(lambda path: (detector(path), data(path) == 'digits'))


def shrunk(path: Path, folder: Path) -> Config:
    cfg = Config.fromfile(path)
    shrink_detection(cfg, folder)
    cfg.update(work_dir=str(folder / 'work'), experiment_name=uuid.uuid4().hex, log_level='ERROR')
    return cfg


@pytest.mark.parametrize('path', PIPELINES, ids=lambda p: p.stem)
def test_images_of_ones_own(path, tmp_path) -> None:
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    write_images(tmp_path / 'own')
    files = sorted(map(str, (tmp_path / 'own').iterdir()))[:2]
    arrays = [mmcv.imread(file) for file in files]  # BGR
    assert arrays[0].shape != arrays[1].shape
    cfg = shrunk(path, tmp_path)
    text = cfg.pretty_text  # an array changes the pipeline of mmdet's model, and ends its paths
    model = init_detector(cfg, device='cpu')
    by_path = inference_detector(model, files)
    for sample in by_path:
        assert_inside(sample)
    alone = inference_detector(model, files[1])
    from_array = inference_detector(model, arrays[1])
    for other in (alone, from_array):
        assert torch.equal(other.pred_instances.bboxes, by_path[1].pred_instances.bboxes)

    # The checkpoint of a run holds its config.
    meta = dict(cfg=text, dataset_meta=dict(classes=[str(i) for i in range(80)]))
    checkpoint = str(tmp_path / 'epoch_1.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    inferencer = DetInferencer(weights=checkpoint, device='cpu', show_progress=False)
    drawn = inferencer(files, batch_size=2, pred_score_thr=0.0, return_vis=True)
    for picture, array in zip(drawn['visualization'], arrays, strict=True):
        assert picture.shape == array.shape
    for results in (drawn, inferencer(arrays)):
        for result, sample in zip(results['predictions'], by_path, strict=True):
            found = sample.pred_instances
            torch.testing.assert_close(
                torch.tensor(result['bboxes']), found.bboxes, atol=1e-3, rtol=0
            )
            assert len(result.get('masks', [])) == len(found.get('masks', []))


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    """Folder of a config file and the checkpoint that mmdet's own tools/train.py made by it."""
    folder = tmp_path_factory.mktemp('run')
    cfg = shrunk(CONFIGS / 'detection' / 'mask-rcnn_vit-tiny_digits.py', folder)
    cfg.model.backbone.init_cfg = None
    cfg.dump(folder / 'config.py')
    call('train.py', folder / 'config.py')
    return folder


def call(tool: str, *arguments) -> None:
    """A tool of mmdet's, in this process."""
    import mmdet

    path, argv = Path(mmdet.__path__[0]) / '.mim' / 'tools' / tool, sys.argv
    sys.argv = [tool, *map(str, arguments)]
    try:
        runpy.run_path(str(path), run_name='__main__')
    finally:
        sys.argv = argv


def test_tools_of_mmdet_train_and_test(run) -> None:
    import mmdet

    checkpoint = run / 'work' / 'epoch_1.pth'
    assert checkpoint.is_file()
    augmented = run / 'augmented.pkl'
    call('test.py', run / 'config.py', checkpoint, '--tta', '--out', augmented)
    # A process of its own: this one has imported dino_mm.ops.
    tool = Path(mmdet.__path__[0]) / '.mim' / 'tools' / 'test.py'
    out = run / 'predictions.pkl'
    command = [
        sys.executable,
        '-m',
        'dino_mm.ops',
        tool,
        run / 'config.py',
        checkpoint,
        '--out',
        out,
    ]
    subprocess.run(command, check=True, env=os.environ | dict(OMP_NUM_THREADS='1'), cwd=run)
    plain, augmented = (pickle.loads(file.read_bytes()) for file in (out, augmented))
    for one, both in zip(plain, augmented, strict=True):
        # The weights are those of the file: boxes of the unflipped view are among the joined.
        gaps = torch.cdist(one['pred_instances']['bboxes'], both['pred_instances']['bboxes'])
        assert (gaps.min(dim=1).values < 1e-3).float().mean() > 0.2


@pytest.mark.parametrize('path', DETECTORS, ids=lambda p: p.stem)
def test_augmented_tests(path, tmp_path) -> None:
    """By the ``tta_pipeline`` and ``tta_model`` that --tta of mmdet's tools/test.py looks for."""
    cfg = shrunk(path, tmp_path)
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    runner, predicted = build_runner(cfg), Predictions()
    runner.register_hook(predicted)
    metrics = runner.test()
    assert any(key.endswith('bbox_mAP') for key in metrics)
    assert len(predicted.samples) == IMAGES
    for sample in predicted.samples:
        assert_inside(sample)
        assert sample.flip_direction is None
        if cfg.test_dataloader.dataset.type == 'dino_mm.StrictCocoDataset':
            x, y, w, h = box(sample.img_id)
            assert sample.gt_instances.bboxes.tolist() == [[x, y, x + w, y + h]]
