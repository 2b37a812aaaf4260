from . import transforms
from .digits import DigitInstances, DigitMasks, EmbeddedDigits
from .image_folder import UnlabelledImageFolder
from .knn_dataset import KNNDataset
from .labeled_images import LabeledImages
from .sharded_images import ShardedImages
from .torchvision_dataset import TorchvisionDataset

__all__ = [
    'DigitInstances',
    'DigitMasks',
    'EmbeddedDigits',
    'KNNDataset',
    'LabeledImages',
    'ShardedImages',
    'TorchvisionDataset',
    'UnlabelledImageFolder',
    'transforms',
]
