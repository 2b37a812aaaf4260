"""Video object segmentation on DAVIS: python tools/eval_video_segmentation.py DATA_ROOT --checkpoint FILE."""

from _preflight import check_imports

check_imports()

from dino_mm.evaluation.davis.run import main  # noqa: E402

if __name__ == '__main__':
    main()
