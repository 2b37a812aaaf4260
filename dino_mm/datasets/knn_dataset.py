"""Labeled bank and queries of a k-NN evaluation in one data set."""

import importlib
import os

import torch
from mmengine.dataset import ConcatDataset
from mmengine.logging import print_log

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number
from dino_mm.utils.quiet import quiet_imports


def evaluation_pipeline(size: int) -> list[dict]:
    """The published transform: the short side to 8/7 of ``size`` pixels, then the center.

    Args:
        size (int): Edge of the images that the network sees; 224 is published.
    """
    return [
        dict(type='dino_mm.LoadImage'),
        dict(
            type='mmpretrain.torchvision/Resize',
            size=round(size * 256 / 224),
            interpolation='bicubic',
        ),
        dict(type='mmpretrain.torchvision/CenterCrop', size=size),
        dict(type='mmpretrain.PackInputs'),
    ]


@DATASETS.register_module()
class KNNDataset(ConcatDataset):
    """Passes ``bank`` and then ``queries``, each sample with the metainfo ``in_bank`` and ``index``.

    One pass of MMEngine's own validation or test loop then extracts all features. Where both parts
    name their classes, labels are matched by name: folders may lack classes of the other part.

    Args:
        bank (dict): Data set whose labels vote.
        queries (dict): Data set that is classified.
        data_root (str, optional): Folder (or list) of both, instead of one for each.
        pipeline (list, optional): Transforms of the part that names none. mmpretrain's inference
            APIs look for them here.
        size (int, optional): Edge in pixels, for :func:`evaluation_pipeline` instead of a pipeline.
    """

    def __init__(
        self,
        bank: dict,
        queries: dict,
        data_root: str | None = None,
        pipeline: list | None = None,
        size: int | None = None,
    ) -> None:
        check_number('KNNDataset.size', size, whole=True, optional=True, at_least=1)
        if size is not None and pipeline is not None:
            raise ValueError('a KNNDataset takes pipeline or size, not both')
        if data_root is not None and not os.path.exists(data_root):
            raise FileNotFoundError(
                f'data_root {data_root!r} of the KNNDataset does not exist: set it in the config or '
                'by --cfg-options test_dataloader.dataset.data_root=FOLDER (while training: '
                'val_dataloader.dataset.data_root)'
            )
        shared = {} if data_root is None else dict(data_root=data_root)
        if size is not None:
            with quiet_imports():  # of the package that registers these transforms
                importlib.import_module('mmpretrain.datasets')
            pipeline = evaluation_pipeline(size)
        default = {} if pipeline is None else dict(pipeline=pipeline)
        built = [DATASETS.build({**default, **part, **shared}) for part in (bank, queries)]
        # Classes are matched below.
        super().__init__(built, ignore_keys=list(built[0].metainfo | built[1].metainfo))
        self._label_map: torch.Tensor | None = None  # of the queries, where classes differ
        names = [list(part.metainfo.get('classes') or []) for part in built]
        if all(names) and names[0] != names[1]:
            self._match_classes(*names)

    def _match_classes(self, bank: list[str], queries: list[str]) -> None:
        missing = [name for name in queries if name not in bank]
        if missing:
            print_log(
                f'{len(missing)} classes of the queries are missing from the bank, their images '
                f'count as wrong: {", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}',
                'current',
                30,
            )
        place = {name: index for index, name in enumerate([*bank, *missing])}
        self._metainfo['classes'] = tuple(place)
        self._label_map = torch.tensor([place[name] for name in queries])

    def __getitem__(self, idx: int) -> dict:
        item = super().__getitem__(idx)
        in_bank = idx < self.cumulative_sizes[0]
        sample = item['data_samples']
        sample.set_metainfo(dict(in_bank=in_bank, index=idx))
        if self._label_map is not None and not in_bank:
            sample.set_gt_label(self._label_map[sample.gt_label])
        return item
