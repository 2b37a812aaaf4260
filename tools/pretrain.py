"""Pretrains on a folder of images: python tools/pretrain.py FOLDER [--help for the options]."""

from _preflight import check_imports

check_imports()

from dino_mm.apis.pretrain import main  # noqa: E402

if __name__ == '__main__':
    main()
