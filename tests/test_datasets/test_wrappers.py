import pytest
import torch
from mmengine.dataset import BaseDataset
from PIL import Image

from dino_mm.datasets import KNNDataset, TorchvisionDataset
from dino_mm.datasets.transforms import LoadImage

PIPELINE = [dict(type='dino_mm.LoadImage'), dict(type='mmpretrain.PackInputs')]
FAKE = dict(
    type='TorchvisionDataset', dataset='FakeData', dataset_args=dict(size=5, image_size=(3, 8, 8))
)


def test_labeled_torchvision_data_set() -> None:
    dataset = TorchvisionDataset('FakeData', FAKE['dataset_args'], pipeline=[LoadImage()])
    assert len(dataset) == 5
    assert dataset[0]['img'].size == (8, 8) and dataset[0]['sample_idx'] == 0
    assert 0 <= dataset[0]['gt_label'] < 10


def test_any_data_set_of_pil_images() -> None:
    images = [Image.new('L', (4, 4), value) for value in (10, 20)]
    dataset = TorchvisionDataset(lambda: images, pipeline=[LoadImage()])
    assert dataset[1]['img'].getpixel((0, 0)) == (20, 20, 20) and 'gt_label' not in dataset[1]
    assert isinstance(dataset, BaseDataset)


def test_unknown_torchvision_data_set_is_named() -> None:
    with pytest.raises(ValueError, match="no 'CIFAR11'"):
        TorchvisionDataset('CIFAR11')


def test_bank_and_queries_are_marked() -> None:
    dataset = KNNDataset(
        bank=dict(FAKE, pipeline=PIPELINE), queries=dict(FAKE, pipeline=PIPELINE, indices=3)
    )
    marks = [item['data_samples'].in_bank for item in dataset]
    assert marks == [True] * 5 + [False] * 3
    assert dataset[6]['inputs'].dtype is torch.uint8
