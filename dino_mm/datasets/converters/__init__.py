"""Published label formats to COCO's, and a checker of COCO files."""

from .bdd100k import convert_bdd100k
from .check import check_coco
from .coco import CocoBuilder
from .voc import convert_voc

__all__ = ['CocoBuilder', 'check_coco', 'convert_bdd100k', 'convert_voc']
