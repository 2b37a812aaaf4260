"""Labeled images as one data set of bank and queries, with their features from a cache."""

from collections.abc import Iterable

import torch
from mmengine.config import Config
from torch import Tensor

from dino_mm.datasets.image_folder import IMAGE_EXTENSIONS
from dino_mm.evaluation.features import Chunk


def folder_config(data_root: str, image_size: int) -> dict:
    """``{train,val}/CLASS/*`` by the published transform: short side, center, bicubic."""
    pipeline = [
        dict(type='dino_mm.LoadImage'),
        dict(
            type='mmpretrain.torchvision/Resize',
            size=round(image_size * 256 / 224),
            interpolation='bicubic',
        ),
        dict(type='mmpretrain.torchvision/CenterCrop', size=image_size),
        dict(type='mmpretrain.PackInputs'),
    ]
    parts = {
        name: dict(
            type='mmpretrain.CustomDataset',
            data_prefix=split,
            extensions=IMAGE_EXTENSIONS,
            pipeline=pipeline,
        )
        for name, split in (('bank', 'train'), ('queries', 'val'))
    }
    return dict(type='dino_mm.KNNDataset', data_root=data_root, **parts)


def labeled_config(path: str) -> dict:
    """The data set by which a config evaluates k-NN.

    Raises:
        ValueError: It has none.
    """
    cfg = Config.fromfile(path)
    for name in ('test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        if dataset.get('type', '').endswith('KNNDataset'):
            return dataset.to_dict()
    raise ValueError(f'{path} has no KNNDataset to test or validate on: give DATA_ROOT instead')


def load_all(chunks: Iterable[Chunk], total: int) -> tuple[Tensor, Tensor]:
    """Chunks of a data set in one tensor (N, P, C), with labels (N,)."""
    features, labels = torch.empty(0), torch.empty(total, dtype=torch.long)
    for chunk in chunks:
        if not len(features):
            features = torch.empty(total, *chunk.features.shape[1:])
        features[chunk.index], labels[chunk.index] = chunk.features, chunk.labels
    return features, labels
