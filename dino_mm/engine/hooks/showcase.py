"""A handful of images, and what a network makes of them: where it looks, what it finds alike."""

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from torch import Tensor
from torchvision.transforms.functional import center_crop, resize

from dino_mm.datasets import ShardedImages
from dino_mm.datasets.transforms import DINOMultiCrop
from dino_mm.utils.attention import class_token_attention
from dino_mm.utils.files import save_atomically

#: Patches on an edge at least, where an image is enlarged so that a picture of attention shows
#: more than a few squares. Position embeddings are interpolated, as for the published pictures.
GRID = 16
#: Images among which neighbors are looked for, and whose features are taken at a time.
GALLERY, CHUNK = 200, 50


def spread(start: float, end: float, count: int) -> list[int]:
    """Whole numbers at even distances from start up to but without end, each once."""
    places = np.linspace(start, end, count, endpoint=False)
    return sorted({int(place) for place in places})


def pictures_of(dataset: Sequence, count: int) -> tuple[Tensor, Tensor]:
    """Images (Q, C, H, W) to look at and others (N, C, H, W) to compare them with, of a data set
    for evaluation, uint8.

    Of a data set that holds a bank and queries the first come from its end, where the queries are.
    Images of another size than most are left out.
    """
    chosen = spread(len(dataset) * 0.85, len(dataset), count)
    others = spread(0, len(dataset) * 0.85, GALLERY)
    images = {i: dataset[i]['inputs'] for i in chosen + others}
    shapes = Counter(image.shape for image in images.values())
    usual = {i for i, image in images.items() if image.shape == shapes.most_common(1)[0][0]}
    return tuple(torch.stack([images[i] for i in part if i in usual]) for part in (chosen, others))


def unlabeled_pictures_of(
    dataset: BaseDataset | ShardedImages, count: int
) -> tuple[Tensor, Tensor]:
    """The same of a data set for training, without its augmentation.

    Each image is loaded by the first transform, then resized and cropped to a square of the size
    of a global crop.
    """
    load, *others = dataset.pipeline.transforms
    sizes = [one.sizes['global_size'] for one in others if isinstance(one, DINOMultiCrop)]
    size = sizes[0] if sizes else (224, 224)
    if isinstance(dataset, ShardedImages):
        found = dataset.preview(count + GALLERY)
    else:
        chosen = spread(0, len(dataset), count)
        rest = [i for i in spread(0, len(dataset), GALLERY) if i not in chosen]
        found = [dataset.get_data_info(index) for index in chosen + rest]
    images = []
    for info in found:
        item = load(info)
        if item is None:  # a broken file that is passed over
            continue
        image = item['img']
        if not isinstance(image, Tensor):
            image = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        images.append(center_crop(resize(image, min(size), antialias=True), [*size]))
    return torch.stack(images[:count]), torch.stack(images[count:])


class Showcase:
    """Keeps the images and what the untrained network made of them.

    Args:
        queries (Tensor): (Q, C, H, W) uint8, images to look at.
        gallery (Tensor): (N, C, H, W) uint8, images among which neighbors are looked for.
        file (str): Where the views of the untrained network are kept for a resumed run.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, file: str) -> None:
        self.queries, self.gallery, self.file = queries, gallery, file
        self.untrained: dict[str, Tensor] = {}

    def remember_untrained(self, model) -> None:
        """Looks at the images before training."""
        self.untrained = self.look(model)
        save_atomically(self.untrained, self.file)

    def recall_untrained(self) -> None:
        """Takes up what an earlier part of this run kept, if it is there."""
        if os.path.isfile(self.file):
            self.untrained = torch.load(self.file, weights_only=True)

    @torch.no_grad()
    def look(self, model) -> dict[str, Tensor]:
        """``neighbors`` (Q, k) places in the gallery and, of our vision transformer, ``attention``
        (Q, heads, h, w)."""
        network, training = model.learned, model.learned.training
        network.eval()
        try:
            return self._look(model)
        finally:
            network.train(training)

    def _look(self, model) -> dict[str, Tensor]:
        queries, gallery = (
            F.normalize(self._features(model, images), dim=-1)
            for images in (self.queries, self.gallery)
        )
        nearest = (queries @ gallery.T).topk(min(5, len(gallery)), dim=1).indices
        found = dict(neighbors=nearest.cpu())
        backbone = model.learned.backbone
        if hasattr(backbone, 'get_attention'):
            side = min(self.queries.shape[-2:])
            factor = max(GRID * backbone.patch_size / side, 1)
            large = F.interpolate(
                self.queries.float(), scale_factor=factor, mode='bicubic', antialias=True
            )
            inputs = self._inputs(model, large.round().clamp(0, 255).to(torch.uint8))
            with model.teacher_precision(inputs.device):
                found['attention'] = class_token_attention(backbone, inputs).float().cpu()
        return found

    def _features(self, model, images: Tensor) -> Tensor:
        parts = [
            model.extract_feat(self._inputs(model, part)).float() for part in images.split(CHUNK)
        ]
        return torch.cat(parts)

    @staticmethod
    def _inputs(model, images: Tensor) -> Tensor:
        return model.data_preprocessor(dict(inputs=images))['inputs']

    def draw(self, model, folder: str) -> dict[str, str]:
        """Draws what the network makes of the images now: names and files of the pictures."""
        from dino_mm.visualization import draw_attention, draw_neighbors

        now, files = self.look(model), {}
        if 'attention' in now:
            files['attention'] = os.path.join(folder, 'attention.png')
            before = self.untrained.get('attention')
            draw_attention(files['attention'], self.queries, now['attention'], before)
        files['neighbors'] = os.path.join(folder, 'neighbors.png')
        draw_neighbors(
            files['neighbors'],
            self.queries,
            self.gallery,
            now['neighbors'],
            self.untrained.get('neighbors'),
        )
        return files
