"""Objects in attention on VOC 2012: python tools/eval_attention_voc.py DATA_ROOT --checkpoint FILE."""

from _preflight import check_imports

check_imports()

from dino_mm.evaluation.voc.run import main  # noqa: E402

if __name__ == '__main__':
    main()
