"""Fetches data sets: python tools/misc/download_dataset.py NAME [--root data] [--help]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _preflight import check_imports

check_imports()

from dino_mm.apis.download_dataset import main  # noqa: E402

if __name__ == '__main__':
    main()
