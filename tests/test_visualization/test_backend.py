"""Drawing leaves the backend of a notebook alone."""

import subprocess
import sys

SCRIPT = """
import sys

import matplotlib

matplotlib.use('svg')
import numpy as np
import dino_mm
from dino_mm.visualization import draw_segmentation

labels = np.zeros((4, 4), int)
sample = np.zeros((4, 4, 3), np.uint8), labels, labels
draw_segmentation(sys.argv[1], [sample], ['void'], [[0, 0, 0]])
print(matplotlib.get_backend())
"""


def test_the_chosen_backend_stays(tmp_path) -> None:
    path = tmp_path / 'picture.png'
    run = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[-1] == 'svg'
    assert path.read_bytes().startswith(b'\x89PNG')
