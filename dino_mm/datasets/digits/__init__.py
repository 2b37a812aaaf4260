from .embedded import EmbeddedDigits
from .instances import DigitInstances
from .masks import DigitMasks

__all__ = ['DigitInstances', 'DigitMasks', 'EmbeddedDigits']
