"""k-NN and linear classification of frozen features: python tools/eval_linear.py DATA_ROOT --checkpoint FILE."""

from _preflight import check_imports

check_imports()

from dino_mm.evaluation.linear_probe.run import main  # noqa: E402

if __name__ == '__main__':
    main()
