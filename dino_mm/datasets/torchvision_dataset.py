"""Any torchvision-style data set as one of ours."""

from collections.abc import Callable

import torchvision
from mmengine.dataset import BaseDataset

from dino_mm.registry import DATASETS


@DATASETS.register_module()
class TorchvisionDataset(BaseDataset):
    """Wraps a data set whose items are a PIL image or ``(PIL image, label)``.

    Args:
        dataset (str | Callable): Name in ``torchvision.datasets`` or anything that builds the
            data set.
        dataset_args (dict): Its arguments, such as ``root`` and ``download``.
        pipeline (list): Transforms; items enter with ``img`` and, where known, ``gt_label``.

    Example:
        >>> TorchvisionDataset('FakeData', dict(size=4, image_size=(3, 32, 32)))[0]['gt_label']
        9
    """

    def __init__(
        self,
        dataset: str | Callable,
        dataset_args: dict | None = None,
        pipeline: list | tuple = (),
        **kwargs,
    ) -> None:
        if isinstance(dataset, str):
            if not hasattr(torchvision.datasets, dataset):
                raise ValueError(f'torchvision.datasets has no {dataset!r}')
            dataset = getattr(torchvision.datasets, dataset)
        self.source = dataset(**(dataset_args or {}))
        classes = getattr(self.source, 'classes', None)
        metainfo = {} if classes is None else dict(classes=tuple(classes))
        super().__init__(metainfo=metainfo, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        return [dict(source_idx=i) for i in range(len(self.source))]

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        item = self.source[info['source_idx']]
        if isinstance(item, tuple):
            info['img'], label = item[:2]
            # STL-10's unlabeled part answers -1.
            if isinstance(label, int) or getattr(label, 'ndim', None) == 0:
                info['gt_label'] = int(label)
        else:
            info['img'] = item
        return info
