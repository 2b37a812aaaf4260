from . import transforms
from .digit_instances import DigitInstances
from .digit_masks import DigitMasks
from .embedded_digits import EmbeddedDigits
from .image_folder import UnlabelledImageFolder
from .knn_dataset import KNNDataset
from .torchvision_dataset import TorchvisionDataset

__all__ = [
    'DigitInstances',
    'DigitMasks',
    'EmbeddedDigits',
    'KNNDataset',
    'TorchvisionDataset',
    'UnlabelledImageFolder',
    'transforms',
]
