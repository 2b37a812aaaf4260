"""Runs a script with mmcv's operators answered: ``python -m dino_mm.ops SCRIPT [ARGUMENTS]``."""

import os
import runpy
import sys

if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))  # as Python does for a script
    runpy.run_path(sys.argv[0], run_name='__main__')
