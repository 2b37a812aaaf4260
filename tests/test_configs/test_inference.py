"""mmseg's and mmpretrain's inference APIs on every config that they apply to."""

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope

from ..labeled_images import write_colors
from . import test_classification, test_segmentation

segmentation = pytest.importorskip('mmseg.apis')
classification = pytest.importorskip('mmpretrain.apis')

SIZES = {'wide.png': (44, 60), 'high.png': (56, 40)}


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> list[str]:
    """Two images of different sizes, with more red than blue."""
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        bgr = rng.integers(0, 256, (*size, 3)) * np.array([0.2, 0.6, 1.0])
        mmcv.imwrite(bgr.astype(np.uint8), str(folder / name))
    return [str(folder / name) for name in SIZES]


def kind_of(path: Path) -> str:
    """What an inference API meets of a config; where it is the same, images are treated alike."""
    cfg = Config.fromfile(path)
    preprocessor = cfg.model.get('data_preprocessor', cfg.get('data_preprocessor'))
    return str((cfg.test_dataloader.dataset.pipeline, cfg.model.type, preprocessor))


def one_of_each_kind(paths: list[Path]) -> list[Path]:
    """The last of each, which is a small one."""
    return list({kind_of(path): path for path in paths}.values())


@pytest.mark.parametrize(
    'path', one_of_each_kind(test_segmentation.LEAVES), ids=lambda path: path.stem
)
def test_mmsegs_apis(path, images, tmp_path, tmp_path_factory) -> None:
    def config() -> Config:  # the APIs change it
        return test_segmentation.shrink_config(path, tmp_path_factory.getbasetemp(), tmp_path)

    assert config().test_pipeline == config().test_dataloader.dataset.pipeline
    torch.manual_seed(0)
    model = segmentation.init_model(config(), device='cpu')
    arrays = [mmcv.imread(image) for image in images]
    results = [segmentation.inference_model(model, image) for image in images]
    together = segmentation.inference_model(model, images)
    # Last: from here on mmseg's function expects arrays of this model.
    from_arrays = [segmentation.inference_model(model, array) for array in arrays]
    for expected, size, *others in zip(
        results,
        SIZES.values(),
        together,
        from_arrays,
        segmentation.inference_model(model, arrays),
        strict=True,
    ):
        assert expected.pred_sem_seg.shape == size and 'gt_sem_seg' not in expected
        for other in others:
            assert other.seg_logits.data.equal(expected.seg_logits.data)

    inferencer = segmentation.MMSegInferencer(config(), device='cpu', show_progress=False)
    inferencer.model.load_state_dict(model.state_dict())
    labels = [result.pred_sem_seg.data[0].numpy() for result in results]
    for inputs in (images, arrays):
        assert np.array_equal(inferencer(inputs[0])['predictions'], labels[0])
        for found, expected in zip(inferencer(inputs)['predictions'], labels, strict=True):
            assert np.array_equal(found, expected)


@pytest.fixture(scope='module')
def colors(tmp_path_factory) -> Path:
    return write_colors(tmp_path_factory.mktemp('colors'))


def last(features: torch.Tensor | tuple) -> torch.Tensor:
    """Of the last layer, where there are several."""
    return features if isinstance(features, torch.Tensor) else features[-1]


@pytest.mark.parametrize(
    'path',
    one_of_each_kind(test_classification.LEAVES),
    ids=lambda path: f'{path.parent.name}-{path.stem}',
)
def test_mmpretrains_apis(path, images, colors, tmp_path, tmp_path_factory) -> None:
    digits = tmp_path_factory.getbasetemp() / 'digits'
    cfg = test_classification.shrink_config(path, colors, tmp_path, digits)
    init_default_scope(cfg.default_scope)
    model = classification.get_model(cfg)
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    batches = [default_collate([pipeline(dict(img_path=image))]) for image in images]
    extract = classification.FeatureExtractor(model)
    arrays = [mmcv.imread(image) for image in images]
    with torch.no_grad():
        # as the data sets read the files: in RGB
        prepared = [model.data_preprocessor(batch)['inputs'] for batch in batches]
        features = [model.extract_feat(image) for image in prepared]
    for inputs in (images, arrays):
        found = [*extract(inputs), *extract(inputs[0])]
        for one, expected in zip(found, [*features, features[0]], strict=True):
            assert last(one).equal(last(expected)[0])
    if path.parent.name == 'knn':  # no classes to predict
        return
    predict = classification.ImageClassificationInferencer(model)
    with torch.no_grad():
        expected = [model.test_step(batch)[0].pred_score.numpy() for batch in batches]
    for inputs in (images, arrays):
        for found in (predict(inputs), predict(inputs[0]) + predict(inputs[1])):
            for result, score in zip(found, expected, strict=True):
                assert np.array_equal(result['pred_scores'], score)
