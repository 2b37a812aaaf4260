"""Tests a checkpoint by a config: python tools/test.py CONFIG CHECKPOINT [--help]."""

from _preflight import check_imports

check_imports()

from dino_mm.apis.test import main  # noqa: E402

if __name__ == '__main__':
    main()
