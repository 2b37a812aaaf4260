"""Says in plain words what a fresh machine lacks, before long tracebacks do."""

import sys


def check_imports() -> None:
    """Exits with the mend where OpenCV or the package itself does not import."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        sys.exit(
            f'OpenCV does not import ({error}). On slim images it needs system packages: '
            'apt-get install -y libgl1 libglib2.0-0'
        )
    try:
        import dino_mm  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != 'dino_mm':
            raise
        sys.exit('dino_mm is not installed: run `pip install -e .` in the project folder')
