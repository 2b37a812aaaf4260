"""Copy detection on Copydays: python tools/eval_copy_detection.py DATA_ROOT --checkpoint FILE."""

from _preflight import check_imports

check_imports()

from dino_mm.evaluation.copy_detection.run import main  # noqa: E402

if __name__ == '__main__':
    main()
