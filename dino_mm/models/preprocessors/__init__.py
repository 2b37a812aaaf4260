from .multi_crop import MultiCropDataPreprocessor

__all__ = ['MultiCropDataPreprocessor']
