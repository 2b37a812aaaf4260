"""Sequences and masks in the layout of DAVIS."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dino_mm.datasets.scan import IMAGE_EXTENSIONS

#: Label of pixels that belong to no object and are ignored.
VOID = 255
#: The aspect ratio of a mask may differ from that of its frame by this fraction. The mask is then
#: resized to the frame.
ASPECT_TOLERANCE = 0.02


@dataclass
class VideoSequence:
    """Files of one sequence.

    Attributes:
        name (str): Name of its folder.
        frames (list[Path]): Images in order.
        masks (dict[int, Path]): Annotations by position of their frame.
    """

    name: str
    frames: list[Path]
    masks: dict[int, Path]


def find_sequences(
    data_root: str | os.PathLike,
    image_dir: str = 'JPEGImages/480p',
    mask_dir: str = 'Annotations/480p',
    split: str = 'ImageSets/2017/val.txt',
    names: Sequence[str] | None = None,
) -> list[VideoSequence]:
    """Sequences below ``DATA_ROOT/IMAGE_DIR`` with their masks of equal names.

    Args:
        data_root (str): The data set.
        image_dir (str): Folder of folders of frames.
        mask_dir (str): Folder of folders of PNG masks.
        split (str): Text file with one name per line. If it is missing, all folders count.
        names (Sequence[str], optional): Sequences to use instead of those.

    Raises:
        FileNotFoundError: No such folder, no frames, or no masks.
    """
    root = Path(data_root)
    if not (root / image_dir).is_dir():
        raise FileNotFoundError(
            f'{root / image_dir} does not exist: check the data root or --image-dir'
        )
    if not names:
        listed = root / split
        names = (
            listed.read_text().split()
            if listed.is_file()
            else sorted(path.name for path in (root / image_dir).iterdir() if path.is_dir())
        )
    if not names:
        raise FileNotFoundError(f'{root / image_dir} holds no sequences')
    return [_read_sequence(name, root / image_dir / name, root / mask_dir / name) for name in names]


def _read_sequence(name: str, frame_dir: Path, mask_dir: Path) -> VideoSequence:
    frames = sorted(p for p in frame_dir.glob('*') if p.suffix.lower() in IMAGE_EXTENSIONS)
    if not frames:
        raise FileNotFoundError(f'sequence {name}: no frames in {frame_dir}')
    positions = {path.stem: position for position, path in enumerate(frames)}
    masks = {}
    for path in sorted(mask_dir.glob('*.png')):
        if path.stem not in positions:
            raise FileNotFoundError(f'mask {path} has no frame in {frame_dir}')
        masks[positions[path.stem]] = path
    if not masks:
        raise FileNotFoundError(f'sequence {name}: no masks in {mask_dir}, check --mask-dir')
    return VideoSequence(name, frames, masks)


def read_mask(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Object ids (H, W) uint8 of a PNG, 0 for background and void.

    Gray-level files that hold only 0 and 255 are binary masks of object 1 (DAVIS 2016).

    Args:
        path (str): Palette or gray-level file.
        size (tuple[int, int]): (width, height) of the frame; masks of slightly different size
            are resized to it by nearest neighbor.

    Raises:
        ValueError: The file is a color image, or the shape of the mask is another one.
    """
    with Image.open(path) as image:
        if image.mode not in ('P', 'L', '1'):
            raise ValueError(f'mask {path} is {image.mode}: expected a palette or gray-level PNG')
        ratio = image.width * size[1] / (image.height * size[0])
        if abs(ratio - 1) > ASPECT_TOLERANCE:
            raise ValueError(
                f'mask {path} is {image.width}x{image.height} but its frame '
                f'{size[0]}x{size[1]}: they must show the same view'
            )
        binary = image.mode != 'P'
        mask = np.array(image.resize(size, Image.Resampling.NEAREST), dtype=np.uint8)
    if binary and set(np.unique(mask)) <= {0, VOID}:
        return (mask > 0).astype(np.uint8)
    mask[mask == VOID] = 0
    return mask


def first_appearances(masks: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """What a tracker is told: the mask of every object in the first frame that shows it.

    Args:
        masks (dict[int, np.ndarray]): (H, W) ids by frame.

    Returns:
        dict[int, np.ndarray]: Masks of only the new objects, by frame; frames without new objects
        are left out.
    """
    known: set[int] = set()
    given = {}
    for frame in sorted(masks):
        new = set(np.unique(masks[frame]).tolist()) - known - {0}
        if new:
            given[frame] = np.where(np.isin(masks[frame], list(new)), masks[frame], 0)
            known |= new
    return given


def voc_palette() -> bytes:
    """256 RGB colors of PASCAL VOC and DAVIS: red, green and blue take turns at the id's bits."""
    ids = np.arange(256)[:, None]
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colors |= ((ids >> (3 * bit + np.arange(3)) & 1) << (7 - bit)).astype(np.uint8)
    return colors.tobytes()


def write_mask(mask: np.ndarray, path: Path) -> None:
    """Writes ids (H, W) uint8 as a palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    image.save(path)
