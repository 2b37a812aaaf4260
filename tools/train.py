"""Trains by a config: python tools/train.py CONFIG [--help for the options]."""

from _preflight import check_imports

check_imports()

from dino_mm.apis.train import main  # noqa: E402

if __name__ == '__main__':
    main()
