"""Lists a few labeled images: python tools/dataset_converters/label_subset.py TRAIN OUT --fraction 0.01."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _preflight import check_imports

check_imports()

from dino_mm.datasets.converters.label_subset import main  # noqa: E402

if __name__ == '__main__':
    main()
