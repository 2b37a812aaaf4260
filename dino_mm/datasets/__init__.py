from . import transforms
from .embedded_digits import EmbeddedDigits
from .image_folder import UnlabelledImageFolder
from .knn_dataset import KNNDataset
from .torchvision_dataset import TorchvisionDataset

__all__ = [
    'EmbeddedDigits',
    'KNNDataset',
    'TorchvisionDataset',
    'UnlabelledImageFolder',
    'transforms',
]
