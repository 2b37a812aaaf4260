"""Converts BDD100K labels to COCO: python tools/dataset_converters/bdd100k2coco.py LABELS OUT [--help]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _preflight import check_imports

check_imports()

from dino_mm.datasets.converters.bdd100k import main  # noqa: E402

if __name__ == '__main__':
    main()
