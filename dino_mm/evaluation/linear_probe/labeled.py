"""Which labeled images are evaluated: configs of a data set of bank and queries."""

from mmengine.config import Config

from dino_mm.datasets.knn_dataset import evaluation_pipeline
from dino_mm.datasets.scan import IMAGE_EXTENSIONS


def images_config(data_root: str | None, config: str | None, image_size: int) -> dict:
    """:class:`KNNDataset` config of the images in a folder, else of those that a config names.

    Raises:
        ValueError: Neither is given, or the config has none.
    """
    if data_root:
        return folder_config(data_root, image_size)
    if config:
        return labeled_config(config)
    raise ValueError('give DATA_ROOT, or a --config that evaluates k-NN')


def folder_config(data_root: str, image_size: int) -> dict:
    """Images in ``{train,val}/CLASS/*`` with the published transform.

    The short side is resized by bicubic interpolation, then the center is cropped.
    """
    parts = {
        name: dict(
            type='mmpretrain.CustomDataset',
            data_prefix=split,
            extensions=IMAGE_EXTENSIONS,
            pipeline=evaluation_pipeline(image_size),
        )
        for name, split in (('bank', 'train'), ('queries', 'val'))
    }
    return dict(type='dino_mm.KNNDataset', data_root=data_root, **parts)


def labeled_config(path: str) -> dict:
    """The data set with which a config evaluates k-NN.

    Raises:
        ValueError: The config has none.
    """
    cfg = Config.fromfile(path)
    for name in ('test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        if dataset.get('type', '').endswith('KNNDataset'):
            return dataset.to_dict()
    raise ValueError(f'{path} has no KNNDataset to test or validate on: give DATA_ROOT instead')
