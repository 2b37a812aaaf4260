"""Holds this project against recordings of the published code.

python tools/check_parity.py RECORDING.npz
torchrun --nproc_per_node 2 tools/check_parity.py RECORDING.npz --launcher pytorch
"""

from _preflight import check_imports

check_imports()

from dino_mm.testing.parity import main  # noqa: E402

if __name__ == '__main__':
    main()
