"""Lets our configs go on from a full published file: published2dino.py CHECKPOINT OUT [--help]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _preflight import check_imports

check_imports()

from dino_mm.checkpoint.published_run import main  # noqa: E402

if __name__ == '__main__':
    main()
