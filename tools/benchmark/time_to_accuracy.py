"""k-NN accuracy over time of several recipes: python tools/benchmark/time_to_accuracy.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _preflight import check_imports

check_imports()

from dino_mm.testing.benchmark.time_to_accuracy import main  # noqa: E402

if __name__ == '__main__':
    main()
