"""Embedded real data for quickstart, tests and demonstrations: no download."""

import json

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import join_path

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .scenes import CLASSES, write_scenes


@DATASETS.register_module()
class EmbeddedDigits(BaseDataset):
    """Colored scenes of scikit-learn's handwritten digits, rendered on first use.

    Every item has ``img_path`` and ``gt_label`` (of the first instance). With several digits per
    scene or several frames also ``gt_labels`` (n,), ``gt_bboxes`` (n, 4) in pixels,
    ``instance_path`` and ``seg_map_path`` (uint8 PNG), and for sequences ``sequence`` and
    ``frame``.

    Args:
        data_root (str): Cache folder.
        split (str): ``'train'`` (1,437 digit images) or ``'val'`` (360); disjoint.
        scene_size (int): Edge of a scene in pixels.
        digits_per_scene (int): Instances per scene.
        scenes_per_digit (int): How many scenes each digit image appears in.
        frames (int): Above 1, moving sequences of that many frames.
        scene_seed (int): Seed of places, sizes, colors and backgrounds.
        pipeline (list): Transforms.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(
        self,
        data_root: str = 'data/digits',
        split: str = 'train',
        scene_size: int = 32,
        digits_per_scene: int = 1,
        scenes_per_digit: int = 1,
        frames: int = 1,
        scene_seed: int = 0,
        pipeline: list | tuple = (),
        **kwargs,
    ) -> None:
        for key, value, bounds in (
            ('scene_size', scene_size, dict(at_least=4)),
            ('digits_per_scene', digits_per_scene, dict(at_least=1, at_most=255)),
            ('scenes_per_digit', scenes_per_digit, dict(at_least=1)),
            ('frames', frames, dict(at_least=1)),
            ('scene_seed', scene_seed, dict(at_least=0)),
        ):
            check_number(f'{type(self).__name__}.{key}', value, whole=True, **bounds)
        self.split, self.frames = split, frames
        self.scene_args = dict(
            size=scene_size,
            digits_per_scene=digits_per_scene,
            scenes_per_digit=scenes_per_digit,
            frames=frames,
            seed=scene_seed,
        )
        super().__init__(data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        folder = write_scenes(self.data_root, self.split, **self.scene_args)
        items = []
        for entry in json.loads((folder / 'annotations.json').read_text()):
            file = f'{entry["name"]}.png'
            item = dict(img_path=join_path(folder, 'images', file), gt_label=entry['labels'][0])
            if (folder / 'semantic').is_dir():
                item.update(
                    gt_labels=np.array(entry['labels']),
                    gt_bboxes=np.array(entry['boxes'], np.float32),
                    instance_path=join_path(folder, 'instances', file),
                    seg_map_path=join_path(folder, 'semantic', file),
                )
            if self.frames > 1:
                sequence, frame = entry['name'].split('/')
                item.update(sequence=sequence, frame=int(frame))
            items.append(item)
        return items
