"""Time and memory of the loss: python tools/benchmark/loss.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _preflight import check_imports

check_imports()

from dino_mm.testing.benchmark.loss import main  # noqa: E402

if __name__ == '__main__':
    main()
