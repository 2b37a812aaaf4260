"""Image retrieval on revisited Oxford and Paris: python tools/eval_image_retrieval.py DATA_ROOT --checkpoint FILE."""

from _preflight import check_imports

check_imports()

from dino_mm.evaluation.retrieval.run import main  # noqa: E402

if __name__ == '__main__':
    main()
