"""Toy sets of images and masks in the layouts that the segmentation configs expect."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (72, 100)  # no multiple of a patch


def write_pairs(images: Path, masks: Path, names: dict[str, str], ids: list[int]) -> None:
    """Noise with masks of four rows of ids; ``names`` maps images to masks."""
    rng = np.random.default_rng(0)
    for name, mask in names.items():
        for path in (images / name, masks / mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(image).save(images / name)
        chosen = rng.choice(ids, 4).astype(np.uint8)
        Image.fromarray(chosen.repeat(SIZE[0] // 4)[:, None].repeat(SIZE[1], 1)).save(masks / mask)


def write_camvid(root: Path) -> None:
    for split in ('train', 'val'):
        names = {f'{i}.png': f'{i}.png' for i in range(3)}
        write_pairs(root / split, root / f'{split}annot', names, list(range(12)))


def write_ade20k(root: Path) -> None:
    for split in ('training', 'validation'):
        names = {f'{i}.jpg': f'{i}.png' for i in range(3)}
        write_pairs(
            root / 'images' / split, root / 'annotations' / split, names, [0, 1, 2, 75, 150]
        )


def write_cityscapes(root: Path) -> None:
    for split in ('train', 'val'):
        stems = [f'town/town_{i}' for i in range(3)]
        names = {f'{s}_leftImg8bit.png': f'{s}_gtFine_labelTrainIds.png' for s in stems}
        write_pairs(root / 'leftImg8bit' / split, root / 'gtFine' / split, names, [*range(19), 255])


def write_voc12aug(root: Path) -> None:
    for kind, lists in (('Class', ('train', 'val')), ('ClassAug', ('aug',))):
        for split in lists:
            stems = [f'{split}_{i}' for i in range(3)]
            names = {f'{stem}.jpg': f'{stem}.png' for stem in stems}
            masks = root / f'Segmentation{kind}'
            write_pairs(root / 'JPEGImages', masks, names, [*range(21), 255])
            listed = root / 'ImageSets/Segmentation' / f'{split}.txt'
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text('\n'.join(stems) + '\n')


#: What writes the set of each type.
WRITERS = {
    'ADE20KDataset': write_ade20k,
    'BaseSegDataset': write_camvid,
    'CityscapesDataset': write_cityscapes,
    'PascalVOCDataset': write_voc12aug,
}
