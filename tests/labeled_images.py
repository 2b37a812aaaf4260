"""Images in the published folder layout whose classes can be told by hand."""

from pathlib import Path

import numpy as np
from PIL import Image

#: Classes are colors, so that even an untrained network or raw pixels tell them.
COLORS = dict(blue=(20, 20, 230), green=(20, 230, 20), red=(230, 20, 20))


def write_colors(root: Path, train: int = 6, val: int = 3, size: int = 40) -> Path:
    """``{train,val}/COLOR/*.png`` with so many slightly noisy images each."""
    rng = np.random.default_rng(0)
    for split, count in (('train', train), ('val', val)):
        for name, color in COLORS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-19, 20, (size + number, size, 3))
                image = (np.array(color) + noise).astype(np.uint8)
                Image.fromarray(image).save(folder / f'{name}_{number}.png')
    return root
