"""Unlabeled images in a folder, at any depth."""

import os
from collections.abc import Sequence

from mmengine.dataset import BaseDataset

from dino_mm.registry import DATASETS

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class UnlabelledImageFolder(BaseDataset):
    """Every image below a folder, sorted by path; hidden files and folders are left out.

    Args:
        data_root (str): The folder.
        ann_file (str): Text file with one path per line, relative to ``data_root``, instead of
            all images. What follows the path after white space, such as a label, is not read.
        extensions (Sequence[str]): File name endings that count, in either case.
        pipeline (list): Transforms.

    Raises:
        FileNotFoundError: No such folder, or no image in it.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        pipeline: list | tuple = (),
        **kwargs,
    ) -> None:
        if isinstance(extensions, str) or not all(ext.startswith('.') for ext in extensions):
            raise ValueError(
                'UnlabelledImageFolder.extensions must be file name endings such as '
                f"('.jpg', '.png'), got {extensions!r}"
            )
        self.extensions = tuple(extension.lower() for extension in extensions)
        super().__init__(data_root=data_root, ann_file=ann_file, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(
                f'image folder {self.data_root!r} does not exist: set data_root in the config or '
                'by --cfg-options train_dataloader.dataset.data_root=FOLDER'
            )
        paths = self._listed() if self.ann_file else self._found()
        if not paths:
            raise FileNotFoundError(
                f'no image in {self.ann_file or self.data_root!r}: looked for '
                f'{", ".join(self.extensions)}'
            )
        return [dict(img_path=path) for path in paths]

    def _listed(self) -> list[str]:
        with open(self.ann_file) as file:
            lines = (line.strip() for line in file)
            # A path may hold blanks: only what follows the file name ending is cut off.
            return [os.path.join(self.data_root, self._path_of(line)) for line in lines if line]

    def _path_of(self, line: str) -> str:
        if line.lower().endswith(self.extensions):
            return line
        return line.rsplit(maxsplit=1)[0]

    def _found(self) -> list[str]:
        paths = []
        for folder, subfolders, files in os.walk(self.data_root, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
            paths += [
                os.path.join(folder, name)
                for name in sorted(files)
                if name.lower().endswith(self.extensions) and not name.startswith('.')
            ]
        return paths
