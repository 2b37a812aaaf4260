"""Small colored scenes composed from scikit-learn's handwritten digits."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

#: Raised whenever rendering changes, so that stale caches are not read.
VERSION = 4
CLASSES = tuple(str(digit) for digit in range(10))


@dataclass
class Scene:
    """One rendered image with everything known about it.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8, RGB.
        labels (list[int]): Class of each instance.
        boxes (np.ndarray): (n, 4) float32 ``x1, y1, x2, y2`` in pixels, exclusive ends.
        instances (np.ndarray): (H, W) uint8, 0 is background, i + 1 is instance i.
    """

    image: np.ndarray
    labels: list[int]
    boxes: np.ndarray
    instances: np.ndarray

    @property
    def semantic(self) -> np.ndarray:
        """(H, W) uint8, 0 is background, class + 1 elsewhere."""
        return np.array([0] + [label + 1 for label in self.labels], np.uint8)[self.instances]


@dataclass
class _Sprite:
    """A digit on the canvas: its ink, color, label, place and velocity in pixels per frame."""

    ink: np.ndarray  # (h, w) in [0, 1]
    color: np.ndarray
    label: int
    place: np.ndarray
    velocity: np.ndarray


def load_split(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Digit images (n, 8, 8) in [0, 1] and labels; ``'train'`` holds 80 %, ``'val'`` the rest.

    The split is stratified by nothing but chance, fixed, and no digit image is in both parts.
    """
    if split not in ('train', 'val'):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    from sklearn.datasets import load_digits  # slow to import, and needed for rendering alone

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    cut = len(order) * 4 // 5
    chosen = order[:cut] if split == 'train' else order[cut:]
    return digits.images[chosen] / 16.0, digits.target[chosen]


def _resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(array.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _tint(rng: np.random.Generator) -> np.ndarray:
    """A faint color cast, one factor per channel: (3,)."""
    return rng.uniform(0.85, 1.0, 3)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(H, W, 3) in [0, 1]: a tinted darker gray with a slight gradient and cloudy noise."""
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[0:size, 0:size] / max(size - 1, 1) - 0.5
    gradient = rng.uniform(0, 0.1) * (np.cos(angle) * xs + np.sin(angle) * ys)
    clouds = rng.uniform(0, 0.05) * _resize(rng.normal(0, 1, (5, 5)), size, size)
    gray = rng.uniform(0, 0.5) + gradient + clouds
    return np.clip(gray[..., None] * _tint(rng), 0, 1)


def _ink_color(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A tinted gray, lighter than the mean background by 0.3 to 0.6: (3,)."""
    return np.clip((background.mean() + rng.uniform(0.3, 0.6)) * _tint(rng), 0, 1)


def _place_sprites(
    images: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    background: np.ndarray,
    scale: tuple[float, float],
) -> list[_Sprite]:
    size = background.shape[0]
    sprites: list[_Sprite] = []
    for image, label in zip(images, labels, strict=True):
        height = int(round(rng.uniform(*scale) * size))
        width = max(int(round(height * rng.uniform(0.8, 1.0))), 4)
        ink = np.clip(_resize(image, height, width), 0, 1)
        # Instances may touch but are not hidden: the least overlapping of some random places.
        places = rng.uniform(0, 1, (30, 2)) * [size - height, size - width]
        centers = places + np.array([height, width]) / 2
        taken = np.array([s.place + np.array(s.ink.shape) / 2 for s in sprites]).reshape(-1, 1, 2)
        gaps = np.abs(centers - taken).max(-1).min(0) if sprites else np.zeros(len(places))
        velocity = rng.uniform(-0.03, 0.03, 2) * size
        sprites.append(
            _Sprite(
                ink,
                _ink_color(rng, background),
                int(label),
                places[int(np.argmax(gaps))],
                velocity,
            )
        )
    return sprites


def _draw(background: np.ndarray, sprites: list[_Sprite]) -> Scene:
    canvas = background.copy()
    instances = np.zeros(canvas.shape[:2], np.uint8)
    for index, sprite in enumerate(sprites):
        top, left = np.round(sprite.place).astype(int)
        height, width = sprite.ink.shape
        window = (slice(top, top + height), slice(left, left + width))
        alpha = sprite.ink[..., None]
        canvas[window] = canvas[window] * (1 - alpha) + sprite.color * alpha
        instances[window][sprite.ink > 0.35] = index + 1
    boxes = np.zeros((len(sprites), 4), np.float32)
    for index in range(len(sprites)):
        ys, xs = np.nonzero(instances == index + 1)
        if len(ys):
            boxes[index] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    image = (canvas * 255).round().astype(np.uint8)
    return Scene(image, [s.label for s in sprites], boxes, instances)


def render_scene(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, size: int
) -> Scene:
    """Draws the given digits at random places, sizes and colors on a random background.

    Args:
        images (np.ndarray): (n, 8, 8) ink in [0, 1].
        labels (np.ndarray): (n,) classes.
        rng (np.random.Generator): Source of all chance.
        size (int): Edge of the square scene in pixels.
    """
    background = _background(rng, size)
    scale = (0.7, 0.95) if len(images) == 1 else (0.25, 0.45)
    return _draw(background, _place_sprites(images, labels, rng, background, scale))


def render_sequence(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, size: int, frames: int
) -> Iterator[Scene]:
    """Frames of the digits moving at constant speed and bouncing at the border."""
    background = _background(rng, size)
    sprites = _place_sprites(images, labels, rng, background, (0.25, 0.45))
    for _ in range(frames):
        yield _draw(background, sprites)
        for sprite in sprites:
            room = size - np.array(sprite.ink.shape)
            place = sprite.place + sprite.velocity
            outside = (place < 0) | (place > room)
            sprite.velocity = np.where(outside, -sprite.velocity, sprite.velocity)
            sprite.place = np.clip(np.where(outside, sprite.place, place), 0, room)


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _write_scene(scene: Scene, folder: Path, name: str, masks: bool) -> dict:
    _save(scene.image, folder / 'images' / f'{name}.png')
    if masks:
        _save(scene.instances, folder / 'instances' / f'{name}.png')
        _save(scene.semantic, folder / 'semantic' / f'{name}.png')
    return dict(name=name, labels=scene.labels, boxes=scene.boxes.tolist())


def write_scenes(
    root: str | os.PathLike,
    split: str,
    size: int = 32,
    digits_per_scene: int = 1,
    scenes_per_digit: int = 1,
    frames: int = 1,
    seed: int = 0,
) -> Path:
    """Renders one split into a cache folder, unless it is there already.

    Layout: ``images/NAME.png``; with several digits or frames also ``instances/NAME.png`` and
    ``semantic/NAME.png``; ``annotations.json`` lists ``name``, ``labels`` and ``boxes``. NAME of
    a sequence's frame is ``SEQUENCE/FRAME``. Interrupted or concurrent rendering leaves no half
    folder.

    Args:
        root (str | PathLike): Cache folder.
        split (str): ``'train'`` or ``'val'``.
        size (int): Edge of a scene in pixels.
        digits_per_scene (int): Instances per scene.
        scenes_per_digit (int): How many scenes each digit image appears in.
        frames (int): Above 1, scenes become moving sequences of that length.
        seed (int): Seed of places, sizes and colors.

    Returns:
        Path: The folder of this split.
    """
    setting = f'v{VERSION}_{size}px_{digits_per_scene}x{scenes_per_digit}x{frames}_seed{seed}'
    target = Path(root) / setting / split
    if target.is_dir():
        return target
    images, labels = load_split(split)
    jobs = []
    for turn in range(scenes_per_digit):
        # Scenes differ between the splits even where the seed is equal.
        key = (seed, turn, split == 'val')
        order = np.random.default_rng(key).permutation(len(images))
        usable = len(order) // digits_per_scene * digits_per_scene
        for group in order[:usable].reshape(-1, digits_per_scene):
            jobs.append((len(jobs), group, (*key, len(jobs))))
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f'.{split}-', dir=target.parent))
    try:

        def render(job: tuple) -> list[dict]:
            number, group, key = job
            rng = np.random.default_rng(key)
            if frames == 1:
                scene = render_scene(images[group], labels[group], rng, size)
                return [_write_scene(scene, scratch, f'{number:05d}', digits_per_scene > 1)]
            scenes = render_sequence(images[group], labels[group], rng, size, frames)
            return [
                _write_scene(scene, scratch, f'{number:05d}/{frame:05d}', masks=True)
                for frame, scene in enumerate(scenes)
            ]

        progress = tqdm(jobs, f'rendering {split} scenes into {target.parent}', mininterval=1)
        annotations = [entry for job in progress for entry in render(job)]
        (scratch / 'annotations.json').write_text(json.dumps(annotations))
        os.chmod(scratch, 0o755)  # mkdtemp makes private folders
        try:
            os.rename(scratch, target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target
